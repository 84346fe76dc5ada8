"""Push files to a model's repository on the Hugging Face Hub, in one commit. Knows nothing of what they are.

The token is huggingface_hub's own: of its store, or HF_TOKEN. It is neither asked for nor shown here.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from knedit.errors import CheckpointError

LOG_IN = "Run: hf auth login, or set HF_TOKEN to a token that may write."


def push_files(
    folder: Path,
    names: Sequence[str],
    repo_id: str,
    *,
    message: str,
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Make the repository where there is none, commit the files to it, and return the commit's address.

    `private` counts for a new repository alone. A `revision` is a branch, made where there is none. Raises
    CheckpointError.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise CheckpointError("Nobody is logged in to the Hugging Face Hub here", repo_id, LOG_IN)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _explained(repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        added = [CommitOperationAdd(name, folder / name) for name in names]
        return str(api.create_commit(repo_id, added, commit_message=message, revision=revision).commit_url)


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        cure = "Unset HF_HUB_OFFLINE where there is a network."
        raise CheckpointError("The Hub's client is told to stay offline", repo_id, cure) from error
    except HfHubHTTPError as error:
        raise _refused(error.response.status_code, error, repo_id) from None
    except (HTTPError, OSError) as error:
        what = f"The Hub cannot be reached: {_line(error)}"
        cure = "Check the network and HF_ENDPOINT; what was written there so far is no commit. Run it again."
        raise CheckpointError(what, repo_id, cure) from None
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"The Hub does not take the files: {_line(error)}", repo_id) from None


def _refused(status: int, error: Exception, repo_id: str) -> CheckpointError:
    if status in (401, 403):
        what = "The Hub does not let this token write there"
        return CheckpointError(f"{what}: {_line(error)}", repo_id, LOG_IN)
    return CheckpointError(f"The Hub refuses: {_line(error)}", repo_id, "Mend what it names, and run it again.")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
