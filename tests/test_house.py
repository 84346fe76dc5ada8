"""The house is kept: each rule holds for the package, and each sees a breach in a small bad example."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house_rules as rules
from tests.house_rules import House, Rule, build

ROOT = Path(__file__).parents[1]

BREACHES: list[tuple[Rule, dict[str, str], list[str]]] = [
    (rules.every_room_has_a_floor, {"knedit/attic/old.py": ""}, ["knedit.attic.old stands on no floor"]),
    (
        rules.imports_point_down,
        {
            "knedit/catalog/store.py": "from knedit.flows import attribute",
            "knedit/models/loading.py": "def load():\n    import knedit.checkpoints.shards",
            "knedit/flows/attribute.py": "from knedit.catalog import store\nfrom . import erase",
            "knedit/records.py": "from .errors import KneditError",
            "knedit/errors.py": "",
        },
        [
            "knedit.catalog.store:1 imports knedit.flows.attribute, which is not on a lower floor",
            "knedit.models.loading:2 imports knedit.checkpoints.shards, which is not on a lower floor",
            "knedit.records:1 imports knedit.errors, which is not on a lower floor",
        ],
    ),
    (
        rules.nothing_imports_the_front,
        {"knedit/__init__.py": "", "knedit/cli/main.py": "from knedit import __version__\nfrom .. import Catalog"},
        ["knedit.cli.main:1 imports from knedit/__init__.py", "knedit.cli.main:2 imports from knedit/__init__.py"],
    ),
    (
        rules.the_ground_needs_the_standard_library_only,
        {"knedit/records.py": "import json\nimport numpy as np", "knedit/flows/show.py": "import numpy"},
        ["knedit.records:2 imports numpy"],
    ),
    (
        rules.foreign_libraries_stay_with_their_owner,
        {
            "knedit/flows/attribute.py": "import torch\nfrom sqlalchemy import select\nimport requests",
            "knedit/flows/workers.py": "import ray",
            "knedit/cli/main.py": "import rich.table\nimport numpy",
            "knedit/catalog/formats/parquet.py": "import pyarrow.parquet",
        },
        [
            "knedit.flows.attribute:2 imports sqlalchemy, owned by knedit.catalog",
            "knedit.flows.attribute:3 imports requests, owned by nobody",
            "knedit.cli.main:2 imports numpy, free on floors 2 to 4",
        ],
    ),
    (
        rules.engines_are_pure,
        {
            "knedit/editing/apply.py": "from pathlib import Path\nfrom knedit.checkpoints import patch\nopen('x')",
            "knedit/checkpoints/patch.py": "import os\nopen('x')",
        },
        [
            "knedit.editing.apply:1 imports pathlib",
            "knedit.editing.apply:2 imports knedit.checkpoints.patch",
            "knedit.editing.apply:3 opens a file",
        ],
    ),
    (
        rules.imports_form_no_cycle,
        {
            "knedit/editing/plan.py": "from knedit.editing import apply",
            "knedit/editing/apply.py": "def run():\n    from knedit.editing.plan import Plan",
            "knedit/editing/solve.py": "if TYPE_CHECKING:\n    from knedit.editing import check",
            "knedit/editing/check.py": "from knedit.editing import solve",
        },
        ["knedit.editing.plan imports knedit.editing.apply imports knedit.editing.plan"],
    ),
    (
        rules.light_rooms_import_torch_late,
        {
            "knedit/flows/attribute.py": "def run():\n    import torch\nif typing.TYPE_CHECKING:\n    import torch",
            "knedit/flows/edit.py": "try:\n    from torch import nn\nexcept ImportError:\n    pass",
            "knedit/models/loading.py": "import torch",
        },
        ["knedit.flows.edit:2 imports torch at its top"],
    ),
    (
        rules.doors_open_without_torch,
        {
            "knedit/cli/main.py": "from knedit.flows import attribute\ndef edit():\n    from knedit.flows import edit",
            "knedit/flows/attribute.py": "from knedit.models.loading import load",
            "knedit/flows/edit.py": "import torch",
            "knedit/models/loading.py": "import torch.nn",
        },
        ["knedit.cli.main loads torch.nn through knedit.models.loading"],
    ),
    (
        rules.modules_are_short,
        {"knedit/models/layout.py": "x = 1\n" * 401, "knedit/models/hooks.py": "x = 1\n" * 400},
        ["knedit.models.layout has 401 lines"],
    ),
    (
        rules.functions_are_short,
        {
            "knedit/models/layout.py": "class A:\n    def run(self):\n" + "        pass\n" * 50,
            "knedit/models/hooks.py": "async def run():\n" + "    pass\n" * 49,
        },
        ["knedit.models.layout:2 run has 51 lines"],
    ),
    (
        rules.modules_are_named_after_what_they_do,
        {"knedit/catalog/utils.py": "", "knedit/core/__init__.py": "", "knedit/catalog/baseline.py": ""},
        ["knedit.catalog.utils is a forbidden name", "knedit.core is a forbidden name"],
    ),
    (
        rules.variables_are_named_after_what_they_hold,
        {
            "knedit/editing/plan.py": "import mt5 as mt\ndef plan(data, *, tmp=1):\n    for obj in data:\n"
            "        self.info = obj.data\n    weight.data = (params := 1)"
        },
        [f"knedit.editing.plan:{found}" for found in ("1 binds mt", "2 binds data", "2 binds tmp", "3 binds obj")]
        + ["knedit.editing.plan:4 binds info", "knedit.editing.plan:5 binds params"],
    ),
    (rules.nothing_prints, {"knedit/cli/main.py": "click.echo('x')\nprint('x')"}, ["knedit.cli.main:2 prints"]),
    (
        rules.modules_say_what_they_are,
        {"knedit/cli/main.py": "x = 1", "knedit/cli/__init__.py": ""},
        ["knedit.cli.main has no docstring"],
    ),
]


@pytest.fixture(scope="module")
def house() -> House:
    paths = sorted((ROOT / "knedit").rglob("*.py"))
    return build({path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths})


def named(rule: Rule) -> str:
    return rule.__name__


RULES = [rule for rule, _, _ in BREACHES]
RULE_SHAPE = {"house": House, "return": list[str]}


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_package_keeps_the_rule(rule: Rule, house: House) -> None:
    assert rule(house) == []


@pytest.mark.parametrize(("rule", "sources", "complaints"), BREACHES, ids=map(named, RULES))
def test_a_breach_of_the_rule_is_seen(rule: Rule, sources: dict[str, str], complaints: list[str]) -> None:
    assert rule(build(sources)) == complaints


def test_every_rule_is_held() -> None:
    written = [thing for thing in vars(rules).values() if getattr(thing, "__annotations__", None) == RULE_SHAPE]
    assert {named(rule) for rule in written} == {named(rule) for rule in RULES}


def rooms(package: Path) -> list[Path]:
    """Return the folders below `package`, at any depth, that hold Python modules."""
    return sorted({path.parent for path in package.rglob("*.py")} - {package})


def without_empty_init(package: Path) -> list[str]:
    inits = {room.relative_to(package).as_posix(): room / "__init__.py" for room in rooms(package)}
    return [room for room, init in inits.items() if not init.is_file() or init.read_text(encoding="utf-8").strip()]


def test_every_room_has_an_empty_init() -> None:
    assert without_empty_init(ROOT / "knedit") == []


def test_a_room_whose_init_is_missing_or_filled_is_seen(tmp_path: Path) -> None:
    for room in ("empty", "filled", "missing", "empty/inner"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "store.py").touch()
    (tmp_path / "empty/__init__.py").touch()
    (tmp_path / "filled/__init__.py").write_text("from filled.store import Catalog\n")
    assert without_empty_init(tmp_path) == ["empty/inner", "filled", "missing"]


@pytest.mark.parametrize("module", ["knedit", *(["knedit.cli.main"] if (ROOT / "knedit/cli/main.py").exists() else [])])
def test_importing_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'sqlalchemy', 'torch', 'transformers'}} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"


def closing_tree(text: str) -> dict[str, str]:
    """Return path → description of the last fenced block; names stand by their indentation below a folder."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    tree: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (blocks or [""])[-1].splitlines():
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        names, _, description = line.strip().partition("  ")
        above = [(depth, folder) for depth, folder in above if depth < indent]
        folder = above[-1][1] if above else ""
        tree |= {folder + name: description.strip() for name in names.split()}
        if names.endswith("/"):
            above.append((indent, folder + names))
    return tree


def untrue(tree: dict[str, str], top: Path) -> list[str]:
    """Return what the tree leaves out, what it names that is not there, and rooms it says nothing of."""
    folders = [path for path in top.iterdir() if path.name in {"knedit", "migrations", "scripts", "tests"}]
    folders += [path for path in (top / "knedit").iterdir() if any(path.glob("*.py"))]
    wanted = sorted(f"{path.relative_to(top).as_posix()}/" for path in folders)
    return [
        *(f"{path} is not named" for path in wanted if path not in tree),
        *(f"{path} does not exist" for path in tree if not (top / path).exists()),
        *(f"{path} is not described" for path in wanted if tree.get(path) == "" and path != "knedit/"),
    ]


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="there is no README.md yet")
def test_the_readmes_closing_tree_is_true() -> None:
    assert untrue(closing_tree((ROOT / "README.md").read_text(encoding="utf-8")), ROOT) == []


def test_an_untrue_tree_is_seen(tmp_path: Path) -> None:
    for room in ("knedit/catalog", "knedit/models", "knedit/web", "tests", "scripts"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "__init__.py").touch()
    lines = ["knedit/", "  records.py errors.py  nouns", "  catalog/    SQL", "  models/", "tests/  tests"]
    text = "\n".join(["```", "first", "```", "```text", *lines, "```", ""])
    assert untrue(closing_tree(text), tmp_path) == [
        "knedit/web/ is not named",
        "scripts/ is not named",
        "knedit/records.py does not exist",
        "knedit/errors.py does not exist",
        "knedit/models/ is not described",
    ]


# Written in halves, so that this file is not the first to be found.
UNWANTED = re.compile("|".join([r"(?<![\w.-])/wor" + "k/", "index" + "-url", "pythonhos" + "ted", "pypi" + r"\.org"]))


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode("utf-8", "replace")


def places(name: str, text: str) -> list[str]:
    return [f"{name}:{number}" for number, line in enumerate(text.splitlines(), 1) if UNWANTED.search(line)]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout, so no file is tracked")
def test_no_tracked_file_names_one_machines_folders_or_package_hosts() -> None:
    assert [place for name, text in tracked_texts() for place in places(name, text)] == []


def test_a_machines_folder_and_a_package_host_are_seen() -> None:
    lines = ["frame/wor" + "k/x", "see /wor" + "k/main", "--extra-index" + "-url x"]
    assert places("a.md", "\n".join(lines)) == ["a.md:2", "a.md:3"]
