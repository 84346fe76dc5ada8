"""One page on a checkpoint, or on an edit, from the catalog alone: no model is loaded, nothing is computed anew.

Experiments that knedit has no recipe for are told as the tables that they stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from knedit.analysis.figures.draw import draw
from knedit.analysis.findings import Bars, Findings, Series, Table
from knedit.analysis.page import Section, build_page
from knedit.analysis.published import SOURCE, beside
from knedit.analysis.sheet import ABOUT, Sheet
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.evaluation.report import summarise
from knedit.experiments import Experiment
from knedit.flows.edit import Planned, read_edit
from knedit.flows.evaluate import stored_evaluation
from knedit.flows.experiments.conduct import with_left_out
from knedit.flows.experiments.registry import RECIPES
from knedit.flows.experiments.running import read_sheet
from knedit.records import Checkpoint, Edit, show_id

HIDDEN = ("activation-baseline",)  # stored for others' sake
USUAL_ROLE = "attribute"
_METRICS = {
    "probability": "probability of the old answer",
    "correct": "the old answer is the likeliest",
    "new_probability": "probability of the new answer",
    "new_correct": "the new answer is the likeliest",
}


@dataclass(frozen=True, slots=True)
class Told:
    """An experiment with what it says."""

    experiment: Experiment
    sheet: Sheet
    findings: Findings


def report_page(catalog: Catalog, reference: str) -> str:
    """Return the page of the checkpoint that has this name, or of the edit whose id begins so.

    Raises CatalogError where there is neither, and where there is nothing to tell of the checkpoint.
    """
    found = _find(catalog, reference)
    if isinstance(found, Edit):
        return _edit_page(catalog, read_edit(catalog, found))
    told = experiments_of(catalog, found)
    if not told:
        cure = f"Run: knedit experiment all {found.name}"
        raise CatalogError(f"no experiment was run on the checkpoint {found.name}", catalog.address, cure)
    about = {**_checkpoint_rows(catalog, found), **_outdated(catalog, found, told)}
    return _page(f"{found.name}: its neurons and what they do", about, told, [], found.name)


def _find(catalog: Catalog, reference: str) -> Checkpoint | Edit:
    try:
        return catalog.find_checkpoint(reference)
    except CatalogError as unknown:
        try:
            return catalog.find_edit(reference)
        except CatalogError:
            raise unknown from None


def experiments_of(catalog: Catalog, checkpoint: Checkpoint, *, edit_id: int | None = None) -> list[Told]:
    """Return the newest experiment of each name and role of prompts, in the order of RECIPES, others after them.

    Those that another edition of knedit measured otherwise are left out.
    """
    newest: dict[tuple[str, str], Told] = {}
    for one in catalog.experiments(checkpoint.id):
        key = (one.name, str(one.config.get("role", USUAL_ROLE)))
        if one.name in HIDDEN or key in newest or (edit_id is not None and one.edit_id != edit_id) or _is_outdated(one):
            continue
        sheet = read_sheet(catalog, one.id)
        if sheet.parts:
            newest[key] = Told(one, sheet, with_left_out(_findings(*key, sheet), sheet))
    names = [*RECIPES, *sorted({name for name, _ in newest} - RECIPES.keys())]
    return [newest[key] for key in sorted(newest, key=lambda key: (names.index(key[0]), key[1] != USUAL_ROLE, key[1]))]


def _is_outdated(experiment: Experiment) -> bool:
    recipe = RECIPES.get(experiment.name)
    return recipe is not None and experiment.config.get("edition") != recipe.edition


def _outdated(catalog: Catalog, checkpoint: Checkpoint, told: Sequence[Told]) -> dict[str, str]:
    """Return a row that tells which experiments the page lacks, since another edition of knedit measured them."""
    there = {one.experiment.name for one in told}
    names = sorted({one.name for one in catalog.experiments(checkpoint.id) if _is_outdated(one)} - there)
    return {"measured otherwise, run them again": ", ".join(names)} if names else {}


def _findings(name: str, role: str, sheet: Sheet) -> Findings:
    if name in RECIPES:
        found = RECIPES[name].findings(sheet)
    else:
        found = Findings(name, name.replace("-", " ").capitalize(), tables=tuple(_stored_tables(sheet)))
    if role == USUAL_ROLE:
        return found
    return replace(found, name=f"{found.name}-{role}", title=f"{found.title} ({role} prompts)", figures={})


def _stored_tables(sheet: Sheet) -> Sequence[Table]:
    tables = []
    for series in sheet.series():
        rows = [] if series == ABOUT else list(sheet.rows(series))
        metrics = list(dict.fromkeys(metric for row in rows for metric in (*row.numbers, *row.texts)))
        cells = tuple(
            (row.part, row.key, *(row.numbers.get(metric, row.texts.get(metric)) for metric in metrics)) for row in rows
        )
        if cells:
            tables.append(Table(series or "values", series or "values", ("part", "key", *metrics), cells))
    return tables


def _page(title: str, about: Mapping[str, str], told: Sequence[Told], first: Sequence[Section], name: str) -> str:
    sections = [*first, *[Section(one.findings, _experiment_rows(one)) for one in told]]
    ours = {key: value for one in told for key, value in one.findings.figures.items() if value is not None}
    table = beside(ours, name)
    rows = {**about, **({"published numbers": SOURCE} if table is not None else {})}
    return build_page(title, rows, sections, lambda picture: draw(picture).svg, beside=table)


def _checkpoint_rows(catalog: Catalog, checkpoint: Checkpoint) -> dict[str, str]:
    rows = {
        "checkpoint": checkpoint.name,
        "family": f"{checkpoint.family}, {checkpoint.n_layers} layers of {checkpoint.ffn_width} neurons",
        "sha256 of the weights": checkpoint.sha256 or "unknown",
    }
    if checkpoint.revision:
        rows["revision"] = checkpoint.revision
    parents = {one.id: one.name for one in catalog.checkpoints()}
    if checkpoint.parent_id in parents:
        rows["made from"] = parents[checkpoint.parent_id]
    return rows


def _experiment_rows(one: Told) -> dict[str, str]:
    """Return how an experiment was asked: its configuration, a row each, and how it went."""
    experiment = one.experiment
    rows = {"experiment": show_id(experiment.id), "knedit": experiment.version}
    if experiment.refinement_id is not None:
        rows["refinement"] = show_id(experiment.refinement_id)
    rows |= {name: _words(value) for name, value in sorted(experiment.config.items())}
    seconds = sum(part.seconds for part in one.sheet.parts)
    ended = "" if experiment.finished_at is None else f", finished {experiment.finished_at:%Y-%m-%d %H:%M} UTC"
    rows["parts"] = f"{len(one.sheet.done)} measured, {len(one.sheet.left_out)} not"
    rows["time"] = f"begun {experiment.started_at:%Y-%m-%d %H:%M} UTC{ended}; {seconds:.0f} s of work in all"
    return rows


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_words(part)}" for name, part in value.items())
    return "–" if value is None else str(value)


def _edit_page(catalog: Catalog, planned: Planned) -> str:
    edit = planned.edit
    names = {one.id: one for one in catalog.checkpoints()}
    result = names.get(edit.result_id) if edit.result_id is not None else None
    about = {
        "edit": show_id(edit.id),
        "planned": f"{edit.created_at:%Y-%m-%d %H:%M} UTC",
        "written to": "not yet" if result is None else result.name,
        **_checkpoint_rows(catalog, planned.checkpoint),
    }
    told = experiments_of(catalog, planned.checkpoint, edit_id=edit.id)
    if result is not None:
        told += experiments_of(catalog, result)
    first = [Section(_edit_findings(catalog, planned), {name: _words(value) for name, value in edit.config.items()})]
    title = f"Edit {show_id(edit.id)[:8]} of {planned.checkpoint.name}"
    return _page(title, about, told, first, planned.checkpoint.name if result is None else result.name)


def _edit_findings(catalog: Catalog, planned: Planned) -> Findings:
    steps = tuple((one.operation, one.target, one.old, one.new, len(one.neurons)) for one in planned.steps)
    tables = [Table("steps", "What was to change", ("operation", "target", "old", "new", "value vectors"), steps)]
    if planned.gates:
        gates = tuple(
            (
                one.gate,
                one.value,
                one.threshold,
                "passed" if one.passed else "failed, forced" if one.forced else "failed",
            )
            for one in planned.gates
        )
        tables.append(Table("gates", "Gates", ("gate", "value", "threshold", "outcome"), gates))
    lines = [line for line in summarise(stored_evaluation(catalog, planned)) if line.metric in _METRICS]
    if lines:
        rows = tuple((one.group, one.role, _METRICS[one.metric], one.prompts, one.before, one.after) for one in lines)
        columns = ("facts", "role", "measure", "prompts", "before", "after")
        tables.append(Table("evaluation", "Asked before and after", columns, rows, percent=columns[4:]))
    wanted = [line for line in lines if line.metric in ("correct", "new_correct")]
    pictures = (_asked(wanted),) if wanted else ()
    note = "" if lines else f"It was not evaluated yet: knedit evaluate {show_id(planned.edit.id)[:8]}"
    return Findings("edit", "The edit", tables=tuple(tables), pictures=pictures, notes=(note,) if note else ())


def _asked(lines: Sequence[object]) -> Bars:
    from knedit.evaluation.report import Line

    kept = [line for line in lines if isinstance(line, Line)]
    groups = tuple(
        f"{line.group}\n{line.role}\n{'new' if line.metric == 'new_correct' else 'old'} answer" for line in kept
    )
    series = (
        Series("before", tuple(line.before for line in kept)),
        Series("after", tuple(line.after for line in kept)),
    )
    return Bars(
        "evaluation", "Prompts whose likeliest answer is the old one, or the new one",
        "Shares of prompts by group and role, before and after the edit.", groups=groups, series=series,
        axis="share of prompts", percent=True,
    )  # fmt: skip
