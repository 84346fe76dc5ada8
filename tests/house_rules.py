"""The house's rules, read off the source: floors, owners of foreign libraries, cycles, sizes and names.

A rule takes the modules as parsed and returns complaints, none where it is kept. Runs none of the code it reads.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath

# A room, or a module at the top, and its floor; the entry point stands one step above the door that it opens.
FLOORS = {
    **dict.fromkeys(("records", "errors", "settings", "memory", "starter"), 1),
    **dict.fromkeys(("remarks", "solved", "experiments"), 1.5),  # records as well, made of the first ones' fingerprints
    "dtypes": 1.5,  # numbers, for networks and files alike
    "hub": 1.5,  # a gateway that other gateways use
    **dict.fromkeys(("catalog", "models", "checkpoints"), 2),
    **dict.fromkeys(("attribution", "editing", "evaluation", "analysis"), 3),
    "flows": 4,
    **dict.fromkeys(("cli", "web"), 5),
    **dict.fromkeys(("__main__", ""), 6),
}
GROUND = {room for room, floor in FLOORS.items() if floor == 1}
ENGINES = {room for room, floor in FLOORS.items() if floor == 3}
DOORS = {room for room, floor in FLOORS.items() if floor >= 5}
LIGHT = {*GROUND, "remarks", "solved", "experiments", "hub", *DOORS, "catalog", "checkpoints", "flows"}

OWNERS = {
    **dict.fromkeys(("sqlalchemy", "alembic", "psycopg", "pyarrow"), "knedit.catalog"),
    **dict.fromkeys(("transformers", "tokenizers", "gguf", "accelerate"), "knedit.models"),
    **dict.fromkeys(("huggingface_hub", "httpx2", "yaml"), "knedit.hub"),
    "safetensors": "knedit.checkpoints",
    **dict.fromkeys(("model_signing", "cryptography"), "knedit.checkpoints.signature"),
    "matplotlib": "knedit.analysis.figures",
    "ray": "knedit.flows.workers",
    "lm_eval": "knedit.flows.harness",
    **dict.fromkeys(("starlette", "fastapi", "uvicorn", "jinja2"), "knedit.web"),
    **dict.fromkeys(("click", "rich"), "knedit.cli"),
}
FREE = {"torch", "numpy"}
NUMBERS = "dtypes"  # needs numpy below the floors where that is free
HEAVY = {"torch", "transformers"}
FILES = {"glob", "os", "pathlib", "shutil", "sqlite3", "tempfile"}

MODULE_LINES = 400
FUNCTION_LINES = 50
BAD_MODULES = {"utils", "common", "base", "core", "helpers", "managers", "services"}
BAD_NAMES = {"data", "info", "params", "obj", "tmp", "mt"}


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    at_import: bool
    typing_only: bool


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return room_of(self.name)


House = Mapping[str, Module]
Rule = Callable[[House], list[str]]


def room_of(name: str) -> str:
    """Return the first part below knedit: "catalog" of "knedit.catalog.store", "" of "knedit" itself."""
    return name.split(".")[1] if "." in name else ""


def dotted(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def build(sources: Mapping[str, str]) -> dict[str, Module]:
    """Parse sources by their path from the repository's top, as "knedit/catalog/store.py"."""
    known = {dotted(path) for path in sources}
    house = {}
    for path, source in sources.items():
        name, tree = dotted(path), ast.parse(source, path)
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        house[name] = Module(name, source, tree, tuple(imports_of(tree, package, known)))
    return house


def imports_of(
    node: ast.AST, package: str, known: set[str], *, at_import: bool = True, typing_only: bool = False
) -> Iterator[Import]:
    """Yield the imports below `node`; of `from a import b` the target is a.b where that is a module, else a."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            for target in dict.fromkeys(targets_of(child, package, known)):
                yield Import(target, child.lineno, at_import, typing_only)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from imports_of(ast.Module(child.body, []), package, known, at_import=at_import, typing_only=True)
            yield from imports_of(
                ast.Module(child.orelse, []), package, known, at_import=at_import, typing_only=typing_only
            )
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_of(child, package, known, at_import=at_import and not later, typing_only=typing_only)


def targets_of(node: ast.Import | ast.ImportFrom, package: str, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    origin = ".".join([*above, node.module] if node.module else above)
    for alias in node.names:
        yield f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in known else origin


def inside(target: str) -> bool:
    return target.split(".")[0] == "knedit"


def each_import(house: House) -> Iterator[tuple[Module, Import]]:
    return ((module, found) for module in house.values() for found in module.imports)


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def calls_of(tree: ast.AST, function: str) -> Iterator[ast.Call]:
    return (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    )


def every_room_has_a_floor(house: House) -> list[str]:
    return [f"{module.name} stands on no floor" for module in house.values() if module.room not in FLOORS]


def imports_point_down(house: House) -> list[str]:
    return [
        f"{module.name}:{found.line} imports {found.target}, which is not on a lower floor"
        for module, found in each_import(house)
        if found.target.startswith("knedit.")
        and room_of(found.target) != module.room
        and FLOORS.get(room_of(found.target), 0) >= FLOORS.get(module.room, 0)
    ]


def nothing_imports_the_front(house: House) -> list[str]:
    return [
        f"{module.name}:{found.line} imports from knedit/__init__.py"
        for module, found in each_import(house)
        if found.target == "knedit"
    ]


def the_ground_needs_the_standard_library_only(house: House) -> list[str]:
    return [
        f"{module.name}:{found.line} imports {found.target}"
        for module, found in each_import(house)
        if module.room in GROUND and found.target.split(".")[0] not in sys.stdlib_module_names
    ]


def foreign_libraries_stay_with_their_owner(house: House) -> list[str]:
    complaints = []
    for module, found in each_import(house):
        library = found.target.split(".")[0]
        if library in sys.stdlib_module_names or inside(library):
            continue
        owner = OWNERS.get(library, "nobody")
        allowed = 2 <= FLOORS.get(module.room, 0) <= 4 if library in FREE else f"{module.name}.".startswith(f"{owner}.")
        allowed |= library == "numpy" and module.room == NUMBERS
        if not allowed:
            whose = "free on floors 2 to 4" if library in FREE else f"owned by {owner}"
            complaints.append(f"{module.name}:{found.line} imports {library}, {whose}")
    return complaints


def engines_are_pure(house: House) -> list[str]:
    complaints = []
    for module in house.values():
        if module.room not in ENGINES:
            continue
        complaints += [
            f"{module.name}:{found.line} imports {found.target}"
            for found in module.imports
            if found.target.split(".")[0] in FILES
            or (inside(found.target) and room_of(found.target) in {"catalog", "checkpoints"})
        ]
        complaints += [f"{module.name}:{call.lineno} opens a file" for call in calls_of(module.tree, "open")]
    return complaints


def imports_form_no_cycle(house: House) -> list[str]:
    graph = {
        module.name: {found.target for found in module.imports if found.target in house and not found.typing_only}
        for module in house.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def light_rooms_import_torch_late(house: House) -> list[str]:
    return [
        f"{module.name}:{found.line} imports {found.target} at its top"
        for module, found in each_import(house)
        if module.room in LIGHT and loads_heavy(found)
    ]


def loads_heavy(found: Import) -> bool:
    return found.at_import and not found.typing_only and found.target.split(".")[0] in HEAVY


def doors_open_without_torch(house: House) -> list[str]:
    return [
        f"{door.name} loads {found.target} through {name}"
        for door in house.values()
        if door.room in DOORS
        for name in sorted(loaded_by(door.name, house))
        for found in house[name].imports
        if loads_heavy(found)
    ]


def loaded_by(name: str, house: House) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        if (here := waiting.pop()) in house and here not in seen:
            seen.add(here)
            waiting += [found.target for found in house[here].imports if found.at_import and not found.typing_only]
    return seen


def modules_are_short(house: House) -> list[str]:
    return [
        f"{module.name} has {lines} lines"
        for module in house.values()
        if (lines := len(module.source.splitlines())) > MODULE_LINES
    ]


def functions_are_short(house: House) -> list[str]:
    return [
        f"{module.name}:{function.lineno} {function.name} has {lines} lines"
        for module in house.values()
        for function in functions_of(module.tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]


def modules_are_named_after_what_they_do(house: House) -> list[str]:
    return [
        f"{module.name} is a forbidden name" for module in house.values() if BAD_MODULES & {*module.name.split(".")}
    ]


def variables_are_named_after_what_they_hold(house: House) -> list[str]:
    return [
        f"{module.name}:{line} binds {name}"
        for module in house.values()
        for node in ast.walk(module.tree)
        for name, line in bound_by(node)
        if name in BAD_NAMES
    ]


def bound_by(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the name, if any, that a node binds, and its line; of attributes only those of `self`."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.alias(asname=str(name)):
            yield name, node.lineno
        case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
            yield name, node.lineno
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, node.lineno
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node.lineno


def nothing_prints(house: House) -> list[str]:
    return [
        f"{module.name}:{call.lineno} prints" for module in house.values() for call in calls_of(module.tree, "print")
    ]


def modules_say_what_they_are(house: House) -> list[str]:
    return [
        f"{module.name} has no docstring"
        for module in house.values()
        if module.source.strip() and not ast.get_docstring(module.tree)
    ]
