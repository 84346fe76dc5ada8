"""Conduct experiments on a checkpoint: run what is missing, sum up, write files; and tell what could not be measured.

The paragraph of `knedit experiment`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from knedit.analysis.figures.style import need_plotting
from knedit.analysis.findings import Findings, Table
from knedit.analysis.sheet import Sheet
from knedit.errors import KneditError
from knedit.experiments import Experiment
from knedit.flows.experiments.lab import Lab
from knedit.flows.experiments.output import check_folders, write_findings
from knedit.flows.experiments.registry import find_recipes
from knedit.flows.experiments.running import Recipe, run_experiment

NAMED = 3  # facts that a reason names


@dataclass(frozen=True, slots=True)
class Conducted:
    """One experiment, done: its record, what it says, and the files that were written."""

    experiment: Experiment
    findings: Findings
    files: tuple[Path, ...] = ()

    @property
    def named(self) -> list[str]:
        """The files' paths in words."""
        return list(map(str, self.files))


def conduct(lab: Lab, name: str, *, output: Path | None = None, figures: bool = True) -> Iterator[Conducted]:
    """Yield each experiment of a name (or "all") when it is done.

    Raises KneditError for an unknown name, an output that cannot be written, and where no part of an experiment could
    be measured: then with the reason.
    """
    recipes = find_recipes(name)
    if output is not None:
        check_folders(output, [recipe.name for recipe in recipes])
        if figures:
            need_plotting("--output")
    for recipe in recipes:
        experiment, sheet = run_experiment(lab, recipe)
        if not sheet.done and len(recipes) == 1:
            raise _nothing(lab, recipe, sheet)
        found = with_left_out(recipe.findings(sheet), sheet)
        files = () if output is None else tuple(write_findings(output, found, figures=figures))
        yield Conducted(experiment, found, files)


def with_left_out(found: Findings, sheet: Sheet) -> Findings:
    """Return findings that also tell which parts could not be measured, and why."""
    if not sheet.left_out:
        return found
    reasons: Counter[tuple[str, str]] = Counter()
    named: dict[tuple[str, str], list[str]] = {}
    for part in sheet.left_out:
        reason = (part.status, part.reason or "")
        reasons[reason] += 1
        named.setdefault(reason, []).append(sheet.about(part.part, "named") or part.part)
    rows = tuple(
        (status, why, count, "; ".join(named[status, why][:NAMED]) + (" …" if count > NAMED else ""))
        for (status, why), count in reasons.most_common()
    )
    table = Table("left-out", "Not measured", ("status", "reason", "parts", "such as"), rows)
    return replace(found, tables=(*found.tables, table))


def _nothing(lab: Lab, recipe: Recipe, sheet: Sheet) -> KneditError:
    ((status, why), count), *_ = Counter((part.status, part.reason) for part in sheet.left_out).most_common()
    cures = {
        "no neurons": f"Refine with a lower --share or --threshold: knedit refine {lab.checkpoint.name} --adjust",
        "no prompts": "Choose another --role, or import prompts of this role for this kind of model.",
    }
    what = (
        f"nothing could be measured: {why}"
        if len(sheet.left_out) == 1
        else (f"none of {len(sheet.left_out)} parts could be measured; of {count} it is said: {why}")
    )
    return KneditError(what.rstrip("."), f"{recipe.name}, {lab.scope.named}", cures.get(status, ""))
