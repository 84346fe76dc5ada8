"""knedit checkpoint verify, sign and push: prove what a folder is, and bring it to the Hugging Face Hub."""

import sys
from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, with_catalog
from knedit.cli.show import show_json, show_rows
from knedit.errors import KneditError
from knedit.settings import key_password

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
parent_option = click.option(
    "--parent", type=click.Path(path_type=Path), help="The parent's folder; else the catalog is asked."
)
public_key_option = click.option(
    "--public-key", type=click.Path(path_type=Path), metavar="FILE", help="The folder must be signed by this key (PEM)."
)
load_option = click.option("--load/--no-load", default=True, help="Also load the model, and ask it what was recorded.")


def ask_password() -> str | None:
    """Return a key's password: KNEDIT_KEY_PASSWORD, else what is typed in, or None where nobody can be asked."""
    told = key_password()
    if told is None and sys.stdin.isatty():
        told = str(click.prompt("Password of the key", hide_input=True, err=True))
    return told


@click.command()
@folder_argument
@parent_option
@public_key_option
@load_option
@with_catalog
@json_option
def verify(catalog: Any, *, folder: Path, as_json: bool, **how: Any) -> None:
    """Check hashes, signature, that just the listed columns differ from the parent's, and scores; else exit with 2."""
    from knedit.flows.verify import verify_checkpoint

    found = verify_checkpoint(catalog, folder, **how)
    if as_json:
        show_json({"folder": str(folder), "ok": found.ok, **_told(found)})
    if not found.ok:
        raise KneditError("the folder does not verify: " + "; ".join(found.problems), str(folder), "Do not use it.")
    if not as_json:
        click.echo(_sentence(found))


def _told(found: Any) -> dict[str, Any]:
    report, scores = found.report, found.scores
    asked = {"asked": scores.asked, "largest": scores.largest, "tolerance": scores.tolerance} if scores else None
    return {
        "problems": report.problems,
        "files": report.files,
        "tensors": report.tensors,
        "value_vectors": report.slices,
        "signature": _signature(report),
        "scores": asked,
    }


def _signature(report: Any) -> str:
    if report.trusted:
        return "of this key"
    return "not checked" if report.signed else "none"


def _sentence(found: Any) -> str:
    report, scores = found.report, found.scores
    parts = [f"{report.files} files", f"{report.slices} changed value vectors in {report.tensors} tensors"]
    if report.signed:
        parts.append("signed by this key" if report.trusted else "signed, by whom was not checked (--public-key)")
    if scores:
        off = f"off by {scores.largest:.2g} at most ({scores.tolerance:g} may be)"
        parts.append(f"{scores.asked} recorded probabilities {off}")
    return f"Verified: {', '.join(parts)}"


@click.command()
@folder_argument
@click.option("--key", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The private key (PEM).")
@json_option
def sign(folder: Path, key: Path, as_json: bool) -> None:
    """Sign an edited checkpoint's folder by a key, offline: model.sig, which covers every file but itself.

    Keys are elliptic-curve ones, P-256, P-384 or P-521. The password of an encrypted one comes from
    KNEDIT_KEY_PASSWORD, or is asked for.
    """
    from knedit.flows.sign import sign_checkpoint

    files = sign_checkpoint(folder, key, ask_password)
    if as_json:
        show_json({"folder": str(folder), "files": files})
    else:
        click.echo(f"Signed: {folder}, {files} files")


@click.command()
@folder_argument
@click.argument("repo_id")
@parent_option
@public_key_option
@load_option
@click.option("--require-signature", is_flag=True, help="Refuse a folder that is not signed.")
@click.option("--private-repo", is_flag=True, help="Make a new repository private; refuse one that is public.")
@click.option("--revision", metavar="BRANCH", help="Commit to this branch; else to main.")
@click.option("--replace", is_flag=True, help="Remove other files that the repository holds, in the same commit.")
@click.option("--dry-run", is_flag=True, help="List what would go up, and send nothing.")
@with_catalog
@json_option
def push(catalog: Any, *, folder: Path, repo_id: str, as_json: bool, **how: Any) -> None:
    """Push a shipped folder to the Hugging Face Hub as REPO_ID (OWNER/NAME), if it verifies.

    The token is huggingface_hub's own, or HF_TOKEN.
    """
    from knedit.flows.push import push_checkpoint

    pushed = push_checkpoint(catalog, folder, repo_id, **how)
    if as_json:
        show_json({"repo_id": repo_id, "files": pushed.files, "url": pushed.url})
        return
    show_rows(["file", "bytes"], [[name, size] for name, size in pushed.files.items()], as_json=False)
    click.echo(f"Pushed: {pushed.url}" if pushed.url else "Nothing was sent.")
