"""Signatures: by every kind of key, over every file; and whatever is changed afterwards is found."""

import base64
import builtins
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from knedit.checkpoints.patch import write_patched
from knedit.checkpoints.planning import TensorPatch
from knedit.checkpoints.signature import check_signature, no_password, read_signature, sign_folder
from knedit.checkpoints.verify import verify_folder
from knedit.errors import CheckpointError
from knedit.hub.fetching import cached_name
from tests.checkpoints.making import manifest_for, matrix, write_single
from tests.keys import write_pair

FLIPS = int(os.environ.get("KNEDIT_FLIPS", "120"))


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    parent = write_single(tmp_path / "parent", rows=4, columns=5)
    patch = TensorPatch("down.0", 1, (0, 3), matrix(2, 4, seed=9).numpy())
    papers = {"README.md": "# Edited\n", "reproduce/plan.json": "{}\n"}
    return write_patched(parent, tmp_path / "edited", [patch], manifest=manifest_for(parent), papers=lambda _: papers)


@pytest.fixture
def signed(edited: Path, tmp_path: Path) -> Path:
    sign_folder(edited, write_pair(tmp_path), name="edited", password=no_password)
    return edited


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("password", [None, "quite secret"])
def test_what_a_key_signs_its_other_half_verifies(
    edited: Path, tmp_path: Path, curve: str, password: str | None
) -> None:
    sums = (edited / "SHA256SUMS").read_bytes()
    key = write_pair(tmp_path, curve=curve, password=password)
    sign_folder(edited, key, name="edited", password=lambda: password)
    report = verify_folder(edited, tmp_path / "parent", public_key=tmp_path / "key.pub")
    assert (report.problems, report.signed, report.trusted) == ((), True, True)
    assert (edited / "SHA256SUMS").read_bytes() == sums
    assert [path.name for path in edited.iterdir() if path.name.startswith(".")] == []


def test_the_signature_covers_every_file_but_itself_and_hidden_ones(signed: Path) -> None:
    found = read_signature(signed)
    assert found is not None
    lines = (signed / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert {name: digest for name, digest in found.files.items() if name != "SHA256SUMS"} == listed
    assert "SHA256SUMS" in found.files
    statement = json.loads(base64.b64decode(json.loads((signed / "model.sig").read_text())["dsseEnvelope"]["payload"]))
    assert statement["subject"][0]["name"] == "edited"


def test_any_tool_of_the_standard_verifies_it_too(signed: Path, tmp_path: Path) -> None:
    (signed / ".gitattributes").write_text("* text\n")
    (signed / ".cache").mkdir()
    (signed / ".cache" / "x").write_text("of the Hub's client")
    words = ["verify", "key", str(signed), "--signature", str(signed / "model.sig")]
    words += ["--public_key", str(tmp_path / "key.pub")]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "model_signing", *words], capture_output=True, text=True
    )
    assert (ran.returncode, "succeeded" in ran.stdout) == (0, True), ran.stderr


def test_hidden_files_may_come_and_a_folder_may_be_renamed(signed: Path, tmp_path: Path) -> None:
    (signed / ".gitattributes").write_text("* text\n")
    (signed / ".cache").mkdir()
    (signed / ".cache" / "x").write_text("of the Hub's client")
    (signed / "reproduce" / ".DS_Store").write_text("of another system")
    moved = signed.rename(tmp_path / "moved")
    assert verify_folder(moved, public_key=tmp_path / "key.pub").problems == ()


def test_it_holds_in_the_hubs_cache_where_files_are_links(signed: Path, tmp_path: Path) -> None:
    model = tmp_path / "models--ada--edited"
    blobs, snapshot = model / "blobs", model / "snapshots" / ("c" * 40)
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in signed.rglob("*") if path.is_file())):
        link = snapshot / path.relative_to(signed)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert verify_folder(snapshot, tmp_path / "parent", public_key=tmp_path / "key.pub").problems == ()
    assert cached_name(snapshot) == "ada/edited"


def change_a_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_the_card(folder: Path) -> None:
    (folder / "README.md").write_text("# Edited!\n")


def change_the_manifest_and_its_sum(folder: Path) -> None:
    import hashlib

    path = folder / "knedit.json"
    path.write_text(path.read_text().replace("tests", "toast"))
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{digest}  knedit.json" if line.endswith("  knedit.json") else line for line in lines]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def add_a_file(folder: Path) -> None:
    (folder / "extra.txt").write_text("extra")


def add_a_file_and_list_it(folder: Path) -> None:
    import hashlib

    add_a_file(folder)
    with (folder / "SHA256SUMS").open("a") as stream:
        stream.write(f"{hashlib.sha256(b'extra').hexdigest()}  extra.txt\n")


def remove_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    "change",
    [
        change_a_byte,
        change_the_card,
        change_the_manifest_and_its_sum,
        add_a_file,
        add_a_file_and_list_it,
        remove_a_file,
    ],
)
def test_a_folder_that_was_changed_after_signing_is_refused(signed: Path, tmp_path: Path, change: Any) -> None:
    change(signed)
    assert verify_folder(signed, public_key=tmp_path / "key.pub").problems
    assert verify_folder(signed).problems
    with pytest.raises(CheckpointError):
        check_signature(signed, tmp_path / "key.pub")


def test_a_file_that_became_a_link_out_of_the_folder_is_found(signed: Path, tmp_path: Path) -> None:
    (signed / "README.md").rename(tmp_path / "outside.md")
    (signed / "README.md").symlink_to(tmp_path / "outside.md")
    problems = verify_folder(signed, public_key=tmp_path / "key.pub").problems
    assert any("leads out of the checkpoint's folder" in problem for problem in problems)


def test_every_flipped_bit_is_found(signed: Path, tmp_path: Path) -> None:
    chance = random.Random(6)
    files = sorted(path for path in signed.rglob("*") if path.is_file())
    places = [(path, at) for path in files for at in range(8 * path.stat().st_size)]
    of_the_signature = [place for place in places if place[0].name == "model.sig"]
    missed = []
    for path, at in [*chance.sample(places, FLIPS // 2), *chance.sample(of_the_signature, FLIPS - FLIPS // 2)]:
        content = bytearray(path.read_bytes())
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
        if verify_folder(signed, public_key=tmp_path / "key.pub").ok:
            missed.append((path.name, at))
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
    assert missed == []
    assert verify_folder(signed, public_key=tmp_path / "key.pub").ok


def test_another_key_is_told(signed: Path, tmp_path: Path) -> None:
    write_pair(tmp_path, "other")
    (problem,) = verify_folder(signed, public_key=tmp_path / "other.pub").problems
    assert "was signed by another key" in problem


def test_a_signature_by_another_key_under_this_keys_name_does_not_hold(signed: Path, tmp_path: Path) -> None:
    hint = json.loads((signed / "model.sig").read_text())["verificationMaterial"]
    (signed / "model.sig").unlink()
    sign_folder(signed, write_pair(tmp_path, "other"), name="edited", password=no_password)
    bundle = json.loads((signed / "model.sig").read_text()) | {"verificationMaterial": hint}
    (signed / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(CheckpointError, match="not that of its statement"):
        check_signature(signed, tmp_path / "key.pub")


def test_a_folder_that_is_not_signed_or_signed_already(edited: Path, tmp_path: Path) -> None:
    key = write_pair(tmp_path)
    (problem,) = verify_folder(edited, public_key=tmp_path / "key.pub").problems
    assert "is not signed" in problem
    sign_folder(edited, key, name="edited", password=no_password)
    with pytest.raises(CheckpointError, match="signed already"):
        sign_folder(edited, key, name="edited", password=no_password)


@pytest.mark.parametrize("curve", ["K-256", "RSA"])
def test_keys_of_other_kinds_are_refused(edited: Path, tmp_path: Path, curve: str) -> None:
    key = write_pair(tmp_path, curve=curve)
    with pytest.raises(CheckpointError, match="no private key to sign with"):
        sign_folder(edited, key, name="edited", password=no_password)
    with pytest.raises(CheckpointError, match="no public key to verify with"):
        verify_folder(edited, public_key=tmp_path / "key.pub")
    assert not (edited / "model.sig").exists()


def test_files_that_are_no_keys_are_refused(edited: Path, tmp_path: Path) -> None:
    key = write_pair(tmp_path)
    with pytest.raises(CheckpointError, match="no private key to sign with"):
        sign_folder(edited, tmp_path / "key.pub", name="edited", password=no_password)
    with pytest.raises(CheckpointError, match="cannot be read"):
        sign_folder(edited, tmp_path / "nowhere.pem", name="edited", password=no_password)
    with pytest.raises(CheckpointError, match="no public key to verify with"):
        verify_folder(edited, public_key=key)
    with pytest.raises(CheckpointError, match="cannot be read"):
        verify_folder(edited, public_key=tmp_path / "nowhere.pub")


def test_an_encrypted_key_needs_its_password(edited: Path, tmp_path: Path) -> None:
    key = write_pair(tmp_path, password="quite secret")
    with pytest.raises(CheckpointError, match="encrypted, and no password was given"):
        sign_folder(edited, key, name="edited", password=no_password)
    with pytest.raises(CheckpointError, match="password is another one") as caught:
        sign_folder(edited, key, name="edited", password=lambda: "a wrong one")
    assert "a wrong one" not in str(caught.value)
    assert not (edited / "model.sig").exists()


def test_a_missing_package_is_told(edited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = write_pair(tmp_path)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("model_signing"):
            raise ImportError(f"No module named {name!r}", name="model_signing")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CheckpointError, match=r'pip install "knedit\[sign\]"'):
        sign_folder(edited, key, name="edited", password=no_password)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["dsseEnvelope", "payload"], 3),
        (["dsseEnvelope", "payload"], "e30="),
        (["dsseEnvelope", "payload"], "not base64"),
        (["dsseEnvelope", "signatures"], []),
        (["dsseEnvelope", "more"], 1),
        (["verificationMaterial"], {"certificate": "x"}),
        (["verificationMaterial", "publicKey", "hint"], None),
        (["more"], 1),
    ],
)
def test_malformed_signatures_are_refused(signed: Path, tmp_path: Path, path: list[str], value: object) -> None:
    bundle = json.loads((signed / "model.sig").read_text())
    place = bundle
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (signed / "model.sig").write_text(json.dumps(bundle))
    assert verify_folder(signed, public_key=tmp_path / "key.pub").problems


def test_a_statement_that_leaves_files_out_does_not_cover_them(signed: Path, tmp_path: Path) -> None:
    """A signer may have told the library to pass over files: knedit takes such a signature for what it is."""
    from model_signing import hashing, signing

    (signed / "model.sig").unlink()
    library: Any = hashing
    few = library.Config().set_ignored_paths(paths=["model.sig", "model.safetensors"])
    library = signing
    config = library.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem").set_hashing_config(few)
    config.sign(signed, signed / "model.sig")
    assert verify_folder(signed, public_key=tmp_path / "key.pub").problems == (
        "model.safetensors is not covered by model.sig",
    )
