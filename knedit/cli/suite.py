"""How a suite is asked for and how its report looks: tables of before and after, controls, failures."""

from pathlib import Path
from typing import Any

import click

from knedit.cli.progress import attribution_progress
from knedit.cli.show import show_json, show_rows

# label, and the figure of that name in a summary
_LINES = (
    ("new answer generated", "generated"),
    ("new answer is the argmax", "argmax"),
    ("ES", "es"),
    ("EM", "em"),
    ("PS", "ps"),
    ("PM", "pm"),
    ("NS", "ns"),
    ("NM", "nm"),
    ("S, harmonic mean of ES, PS, NS", "s"),
    ("paraphrase argmax", "paraphrase_argmax"),
    ("neighbour argmax kept", "neighbour_argmax_kept"),
    ("neighbour KL, nats", "neighbour_kl"),
    ("right on other facts of the relation", "sibling_argmax"),
    ("their argmax kept", "sibling_argmax_kept"),
    ("right on the subject's other relations", "same_subject_argmax"),
    ("right on the inverse", "inverse_argmax"),
    ("new answer's tokens right", "token_accuracy"),
    ("the same, paraphrases", "paraphrase_accuracy"),
    ("neighbours' tokens right", "neighbour_accuracy"),
    ("portability, tokens right", "portability_accuracy"),
    ("NS behind the edited fact", "prepended_ns"),
    ("their argmax kept", "prepended_argmax_kept"),
    ("new answer is the argmax of the denied fact", "negated_argmax"),
    ("fluency", "fluency"),
    ("repetition", "repetition"),
)
_ERASED_LINES = (
    ("true answer at or below the bound", "erased"),
    ("the same, unseen paraphrases", "paraphrase_erased"),
    ("all of a record's wordings", "erased_everywhere"),
    ("true answer's probability", "probability"),
    ("its bound, without the subject", "prior"),
    ("probability, paraphrases", "paraphrase_probability"),
    ("bound, paraphrases", "paraphrase_prior"),
    ("true answer generated", "generated"),
    ("true answer is the argmax", "argmax"),
    ("paraphrase argmax", "paraphrase_argmax"),
    ("right on all wordings", "accuracy"),
)
# figures that updates and erasures share
_KEPT_LINES = (
    ("neighbours answered rightly", "neighbour_argmax"),
    *(line for line in _LINES if line[1].startswith(("neighbour_argmax_kept", "neighbour_kl", "sibling", "same_subj"))),
    *(line for line in _LINES if line[1] in ("fluency", "repetition")),
)
_ERASED_SHORT = ("argmax", "generated", "erased", "paraphrase_erased", "erased_everywhere", "neighbour_argmax_kept")
_SHORT = ("argmax", "generated", "es", "ps", "paraphrase_argmax", "ns", "neighbour_argmax_kept")


def run_suite(address: str | None, file: str, checkpoint: str, *, as_json: bool, **options: Any) -> None:
    """Run a suite on a checkpoint and print its report."""
    from knedit.flows.suite_registry import find_solver
    from knedit.flows.suite_report import SuiteWish, evaluate_suite

    dtype, state = options.pop("dtype"), options.pop("state")
    wish = SuiteWish(file=Path(file), **options)
    find_solver(wish.solver)
    model, name = load_named(address, checkpoint, dtype)
    with attribution_progress(f"Evaluating {wish.suite}") as progress:
        report = evaluate_suite(model, wish, checkpoint=name, state=state, progress=progress)
    show_suite(report, as_json=as_json)


def load_named(address: str | None, checkpoint: str, dtype: str) -> tuple[Any, str]:
    """Return a model, from a file or folder where there is one of this name, else from the catalog; and its name."""
    from knedit.catalog.store import Catalog
    from knedit.flows.checkpoint import load_checkpoint
    from knedit.models.loading import load_model

    if Path(checkpoint).expanduser().exists():
        return load_model(checkpoint, dtype=dtype), Path(checkpoint).name
    with Catalog(address) as catalog:
        found = catalog.find_checkpoint(checkpoint)
    return load_checkpoint(found, dtype=dtype), f"{found.name} {found.sha256[:16]}"


def show_suite(report: Any, *, as_json: bool) -> None:
    """Print a suite's report as JSON, or as tables: figures, controls, figures after rounding, failures."""
    from knedit.flows.suite_report import failure_counts

    if as_json:
        show_json(report)
        return
    summary, told = report.summary, report.configuration
    erases = told["operation"] == "erase"
    lines, short = ((*_ERASED_LINES, *_KEPT_LINES), _ERASED_SHORT) if erases else (_LINES, _SHORT)
    rows = [
        [label, summary.get(f"{name}_before"), summary[name]] for label, name in lines if summary.get(name) is not None
    ]
    if summary.get("others_known"):
        rows.append([f"known facts of other relations, {summary['others_known']}", 1.0, summary["others_kept"]])
    if summary.get("perplexity_after") is not None:
        rows.append(["perplexity of held-out text", summary["perplexity_before"], summary["perplexity_after"]])
    click.echo(
        f"{told['suite']} on {told['checkpoint']}, solver {told['solver']}, {told['mode']}: {summary['measured']} of"
        f" {summary['records']} records measured, {summary['failed']} without an edit."
    )
    if summary["not_known"]:
        click.echo(f"Passed over: {summary['not_known']} records whose true answer the model does not say.")
    show_rows(["means over records", "before", "after"], rows, as_json=False)
    if report.controls:
        several = {name: one for name, one in report.controls.items() if name != "records"}
        _show_short("neurons", several, short, f"Controls, {report.controls['records']} records")
    if summary["rounded"]:
        _show_short("after", summary["rounded"], short, "After rounding all weights")
    cost = [["columns changed in a layer, at most", summary["columns"]]]
    cost += [["columns in all layers, mean", summary["columns_total"]], ["layers", len(summary["layers"])]]
    cost += [["seconds an edit", summary["seconds_per_edit"]]]
    cost += [[f"of these: {name}", value] for name, value in summary["seconds_of"].items()]
    show_rows(["an edit", "value"], cost, as_json=False)
    failures = failure_counts(report.records)
    if failures:
        named = {reason: [one.key for one in report.records if one.failure == reason] for reason in failures}
        lost = [[reason, count, ", ".join(named[reason][:5])] for reason, count in failures.most_common()]
        show_rows(["without an edit", "records", "such as"], lost, as_json=False)


def _show_short(first: str, several: dict[str, Any], figures: tuple[str, ...], title: str) -> None:
    rows = [[name, *(one.get(figure) for figure in figures)] for name, one in several.items()]
    show_rows([first, *(figure.replace("_", " ") for figure in figures)], rows, as_json=False, title=title)
