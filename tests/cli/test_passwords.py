"""The password of a signing key as it is typed: at a prompt that shows nothing of it, and told from a wrong one."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from knedit.checkpoints.patch import TensorPatch, write_patched
from knedit.checkpoints.verify import verify_folder
from knedit.cli.main import cli
from knedit.errors import CheckpointError
from tests.checkpoints.making import manifest_for, matrix, write_single
from tests.keys import write_pair

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SECRET = "quite secret, ß"


class Terminal(BytesIO):
    """What is typed, by somebody who can be asked."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an edited checkpoint and an encrypted key."""
    monkeypatch.delenv("KNEDIT_KEY_PASSWORD", raising=False)
    monkeypatch.chdir(tmp_path)
    parent = write_single(tmp_path / "parent")
    write_patched(
        parent,
        tmp_path / "edited",
        [TensorPatch("down.0", 1, (0,), matrix(1, 6, seed=9).numpy())],
        manifest=manifest_for(parent),
    )
    write_pair(tmp_path, password=SECRET)
    return tmp_path


def sign(typed: str) -> Result:
    return CliRunner().invoke(cli, ["checkpoint", "sign", "edited", "--key", "key.pem"], input=Terminal(typed.encode()))


@pytest.mark.parametrize("told", [None, ""])
def test_a_typed_password_signs_and_is_not_shown(
    place: Path, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told is not None:
        monkeypatch.setenv("KNEDIT_KEY_PASSWORD", told)
    ran = sign(f"{SECRET}\n")
    assert (ran.exit_code, ran.stderr) == (0, "Password of the key: \n")
    assert ran.stdout.startswith("Signed: edited, ")
    assert SECRET not in ran.output
    assert verify_folder(place / "edited", public_key=place / "key.pub").trusted


def test_a_wrong_one_is_one_clear_error_and_nothing_is_signed(place: Path) -> None:
    ran = sign("another secret\n")
    assert isinstance(ran.exception, CheckpointError)
    assert str(ran.exception) == "The key's password is another one (key.pem). Try again."
    assert "another secret" not in ran.output
    assert not (place / "edited" / "model.sig").exists()


@pytest.mark.parametrize("told", ["wrong", "\udcff"])
def test_what_the_environment_tells_is_not_asked_for_again(
    place: Path, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNEDIT_KEY_PASSWORD", told)
    ran = sign(f"{SECRET}\n")
    assert isinstance(ran.exception, CheckpointError)
    assert ran.exception.what == "The key's password is another one"
    assert "Password" not in ran.output


SPAWN = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"


@pytest.mark.parametrize(("typed", "code", "told"), [(SECRET, 0, "Signed: "), ("wrong", 2, "password is another one")])
def test_a_real_terminal_asks_without_an_echo(place: Path, typed: str, code: int, told: str) -> None:
    words = [sys.executable, "-W", "ignore", "-m", "knedit", "checkpoint", "sign", "edited", "--key", "key.pem"]
    command = [sys.executable, "-W", "ignore", "-c", SPAWN, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        shown = b""
        while b"Password of the key: " not in shown:
            read = os.read(process.stdout.fileno(), 4096)
            assert read, shown
            shown += read
        process.stdin.write(f"{typed}\n".encode())
        process.stdin.flush()
        while read := os.read(process.stdout.fileno(), 4096):
            shown += read
        process.stdin.close()
        assert process.wait() == code
    assert told in " ".join(shown.decode().split())
    assert typed not in shown.decode()
    assert (place / "edited" / "model.sig").exists() == (code == 0)
