"""The wheel is whole: what it holds, and that its installed copy starts, without the repository beside it."""

import os
import sqlite3
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[1]
EXTRAS = ["accelerate", "captum", "gguf", "hypothesis", "jinja2", "knowledge_neurons", "matplotlib", "psycopg"]
EXTRAS += ["pyarrow", "pytest", "ray", "starlette", "uvicorn"]
HAS_COMMANDS = (ROOT / "knedit/cli/main.py").exists()

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="there is no README.md yet")
needs_commands = pytest.mark.skipif(not HAS_COMMANDS, reason="there is no command line yet")


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run Python with `command` and return what it printed; its complaints are shown when it fails."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "KNEDIT_"))}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def package_files(folder: str) -> set[str]:
    """Return the files below `folder` that git tracks or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if (ROOT / name).is_file()}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout, so what belongs to it is not known")
def test_the_wheel_holds_the_package_and_its_migrations_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == package_files("knedit") | {f"knedit/{name}" for name in package_files("migrations")}


def test_the_wheel_holds_what_no_import_would_miss(wheel: Path) -> None:
    wanted = ["knedit/py.typed", "dist-info/licenses/LICENSE", "dist-info/entry_points.txt"]
    wanted += [f"knedit/migrations/versions/{path.name}" for path in (ROOT / "migrations/versions").glob("*.py")]
    wanted += [path.relative_to(ROOT).as_posix() for path in (ROOT / "knedit/starter").glob("*.[jt]*")]
    held = zipfile.ZipFile(wheel).namelist()
    assert [name for name in wanted if not any(path.endswith(name) for path in held)] == []


def test_the_wheel_says_what_it_is(wheel: Path, installed: Path) -> None:
    [folder] = installed.glob("*.dist-info")
    found = PathDistribution(folder)
    assert (found.metadata["Name"], found.metadata["License-Expression"]) == ("knedit", "Apache-2.0")
    assert [(point.name, point.value) for point in found.entry_points] == [("knedit", "knedit.cli.main:main")]
    assert found.read_text("licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_installed_copy_is_imported_from_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    code = "import knedit; print(knedit.__file__, knedit.__version__)"
    printed = run("-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    [folder] = installed.glob("*.dist-info")
    assert printed == f"{installed / 'knedit/__init__.py'} {PathDistribution(folder).version}\n"


@needs_commands
def test_the_installed_copy_shows_its_help_without_extras_and_tools(installed: Path, tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.modules.update(dict.fromkeys({EXTRAS})); sys.argv = ['knedit', '--help']; "
    code += "runpy.run_module('knedit', run_name='__main__')"
    assert "Usage:" in run("-c", code, cwd=tmp_path, PYTHONPATH=str(installed))


@needs_commands
def test_the_installed_copy_upgrades_a_catalog_with_its_own_migrations(installed: Path, tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    environment = {"PYTHONPATH": str(installed), "KNEDIT_DATABASE": f"sqlite:///{database}"}
    run("-m", "knedit", "db", "upgrade", cwd=tmp_path, **environment)
    connection = sqlite3.connect(database)
    try:
        [(revision,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    finally:
        connection.close()
    assert ScriptDirectory(str(installed / "knedit/migrations")).get_heads() == [revision]
