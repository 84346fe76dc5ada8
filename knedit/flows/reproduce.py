"""Write an edited checkpoint again from its parent and its `reproduce` folder, and tell whether the bytes are the same.

What was solved is applied, as `edit apply` does; nothing is solved again, and no network is loaded.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from knedit.catalog.formats.writing_facts import jsonl_lines
from knedit.catalog.store import Catalog
from knedit.checkpoints.fingerprint import file_sha256
from knedit.checkpoints.folder import (
    ENVIRONMENT,
    FACTS,
    PARENT_CARD,
    PINS,
    REPRODUCE,
    REPRODUCE_FILES,
    SIGNATURE,
    WISHES,
    list_files,
    reach,
)
from knedit.checkpoints.manifest import Manifest, read_manifest
from knedit.checkpoints.patch import TensorPatch, UnexpectedWeightsError, write_patched
from knedit.checkpoints.recipe import Recipe, read_recipe, recipe_files, recipe_folder
from knedit.checkpoints.strict_json import read_json
from knedit.checkpoints.sums import read_sums
from knedit.errors import CatalogError, CheckpointError
from knedit.flows.card_facts import CARD
from knedit.flows.checkpoint import checked_folder
from knedit.flows.edit import Planned
from knedit.flows.edit_manifest import ERASING, provenance

PACKAGES = ("knedit", "numpy", "safetensors", "torch", "transformers", "tokenizers", "huggingface_hub")


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What was written, and what it differs in: files, by what was recorded, and versions and platform.

    `files` were compared: 0 where there was no list of them, so that the weights' sha256 alone was.
    """

    folder: Path
    files: int
    differing: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differing


def reproduce_files(
    planned: Planned,
    manifest: Mapping[str, Any],
    record: Manifest,
    patches: Sequence[TensorPatch],
    *,
    catalog: Catalog,
    private: bool,
    parent_card: bytes | None,
) -> dict[str, str | bytes]:
    """Return the files of the `reproduce` folder by their names in the checkpoint's.

    What was erased is not in them; with `private`, nor which facts these were.
    """
    files: dict[str, str | bytes] = {**recipe_files(manifest, record, patches)}
    told = {
        ENVIRONMENT: json.dumps(environment(), indent=1) + "\n",
        PINS: "".join(f"{name}=={number}\n" for name, number in _versions().items()),
        WISHES: _lines(_wishes(planned, private=private)),
        FACTS: _lines(jsonl_lines(_kept_facts(catalog, planned))),
    }
    files |= {f"{REPRODUCE}/{name}": text for name, text in told.items() if text}
    return files | ({} if parent_card is None else {f"{REPRODUCE}/{PARENT_CARD}": parent_card})


def environment() -> dict[str, Any]:
    """Return what a later run compares itself with: versions, and the platform."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": _versions(),
    }


def reproduce(catalog: Catalog, source: Path, output: Path, *, parent: Path | None = None) -> Reproduced:
    """Write the checkpoint that `source`, a shipped folder or its `reproduce`, tells how to write, and compare the two.

    The parent is looked up in the catalog where it is not named. Where the weights come out as recorded, knedit.json,
    the card and the `reproduce` folder are those of `source`, and every file is compared; else the folder tells of
    itself. Raises CheckpointError.
    """
    recipe = read_recipe(source)
    parent = parent or _find_parent(catalog, recipe)
    versions = tuple(_other_versions(source))
    try:
        record = read_manifest(source)
        papers = _papers(source)
        write_patched(
            parent,
            output,
            recipe.patches,
            manifest=recipe.manifest,
            expected=recipe.sha256,
            papers=lambda _: papers,
            judge=None if record is None or record.evaluation is None else lambda _: record.evaluation or {},
        )
        return Reproduced(output, *_compared(source, output), versions)
    except UnexpectedWeightsError as error:
        own = {**provenance(), "parent": recipe.manifest["parent"], "edit": recipe.manifest["edit"]}
        write_patched(parent, output, recipe.patches, manifest=own)
        return Reproduced(output, 0, (error.what,), versions)


def _find_parent(catalog: Catalog, recipe: Recipe) -> Path:
    try:
        return checked_folder(catalog.find_checkpoint(recipe.parent_sha256))
    except CatalogError as error:
        name = recipe.manifest["parent"]["name"]
        what = f"The catalog does not know the parent, {name} with the sha256 {recipe.parent_sha256[:16]}…"
        raise CheckpointError(what, catalog.address, "Name its folder: --parent FOLDER.") from error


def _papers(source: Path) -> dict[str, bytes]:
    """Return the files of `source` that tell of the folder: its card, unless that is the parent's, and `reproduce`."""
    record, place = read_manifest(source), recipe_folder(source)
    found = {
        f"{REPRODUCE}/{name}": reach(place, name).read_bytes() for name in REPRODUCE_FILES if (place / name).exists()
    }
    if record is not None and CARD in record.written:
        found[CARD] = reach(source, CARD).read_bytes()
    return found


def _compared(source: Path, output: Path) -> tuple[int, tuple[str, ...]]:
    """Return how many files were compared, and a sentence for each that differs; without sums, weights alone were."""
    wanted = read_sums(source)
    if wanted is None:
        return 0, ()
    made = {name: file_sha256(reach(output, name)) for name in list_files(output)}
    made = {name: digest for name, digest in made.items() if name in wanted or name not in ("SHA256SUMS", SIGNATURE)}
    differing = [
        *(f"{name} is missing" for name in sorted(wanted.keys() - made.keys())),
        *(f"{name} was not there" for name in sorted(made.keys() - wanted.keys())),
        *(f"{name} differs" for name in sorted(wanted.keys() & made.keys()) if wanted[name] != made[name]),
    ]
    return len(wanted), tuple(differing)


def _other_versions(source: Path) -> Iterator[str]:
    place = recipe_folder(source)
    if not (place / ENVIRONMENT).exists():
        yield f"{ENVIRONMENT} is missing, so versions and platform cannot be compared"
        return
    recorded = read_json(reach(place, ENVIRONMENT))
    here = environment()
    packages = recorded.pop("packages", {})
    pairs = [(name, recorded.get(name), here[name]) for name in here if name != "packages"]
    pairs += [(name, packages.get(name), own) for name, own in here["packages"].items()]
    yield from (f"{name} is {own}, was {old}" for name, old, own in pairs if old != own)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _lines(tables: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{json.dumps(table, ensure_ascii=False)}\n" for table in tables)


def _wishes(planned: Planned, *, private: bool) -> Iterator[dict[str, Any]]:
    """Yield the plan as a plan's file has it, so that it can be planned again where the facts are known."""
    for target in planned.targets:
        fact = planned.facts[target.fact_id]
        wish: dict[str, Any] = {"relation": planned.relations[fact.relation_id], "subject": fact.subject}
        if target.operation == "update":
            yield wish | {"new_object": target.new_object}
        elif target.operation in ERASING and not private:
            yield wish | {"erase": True}


def _kept_facts(catalog: Catalog, planned: Planned) -> Iterator[Any]:
    """Yield the records of the facts that the edit changes; those that it erases are no more to be had from here."""
    ids = [target.fact_id for target in planned.targets if target.operation not in ERASING]
    facts = sorted((planned.facts[number] for number in ids), key=lambda fact: (fact.relation_id, fact.id))
    relations = {relation.id: relation for relation in catalog.relations()}
    for fact in facts:
        prompts = (prompt for prompt in catalog.prompts([fact.id]) if prompt.status != "retired")
        yield from chain([relations[fact.relation_id], fact], prompts)
