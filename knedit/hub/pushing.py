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
    replace: bool = False,
) -> str:
    """Make the repository where there is none, commit the files to it, and return the commit's address.

    With `private` it is, or must be, private. A `revision` is a branch, made where there is none. Other files that the
    repository holds, but for hidden ones, are refused, or removed in the same commit with `replace`. Raises
    CheckpointError.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if get_token() is None:
        raise CheckpointError("Nobody is logged in to the Hugging Face Hub here", repo_id, LOG_IN)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _explained(repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        there = api.model_info(repo_id, revision=revision)
        if private and not there.private:
            cure = "Make it private on the Hub, or choose another repository."
            raise CheckpointError("The repository is there already, and is public", repo_id, cure)
        others = _others([one.rfilename for one in there.siblings or ()], names)
        if others and not replace:
            raise _crowded(others, repo_id)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, folder / name) for name in names),
            *(CommitOperationDelete(name) for name in others),
        ]
        return str(api.create_commit(repo_id, operations, commit_message=message, revision=revision).commit_url)


def _others(there: Sequence[str], names: Sequence[str]) -> list[str]:
    hidden = {name for name in there if any(part.startswith(".") for part in name.split("/"))}
    return sorted({*there} - {*names} - hidden)


def _crowded(others: Sequence[str], repo_id: str) -> CheckpointError:
    named = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
    what = f"The repository holds other files, with which a copy of it would not verify: {named}"
    return CheckpointError(what, repo_id, "Choose another one, or remove them in the same commit: --replace.")


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
