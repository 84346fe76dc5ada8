"""Gates: what an edited model must still, or now, say before the edit is kept. Each has a value and a threshold.

growth: how much longer the longest value vector became, against its own norm or a tenth of the mean norm. perplexity:
the share by which that of the held-out text rose. protected, earlier: the share of protected facts, and of facts that
earlier edits changed, that are still answered as before. success: the share of edited facts that answer as wished.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from knedit.catalog.store import Catalog
from knedit.editing.solve import ValueChange
from knedit.errors import EditError, ModelError
from knedit.evaluation.metrics import answer
from knedit.evaluation.perplexity import perplexity
from knedit.flows.choices import GATES, LEAST
from knedit.flows.stacking import Earlier
from knedit.flows.surroundings import prompts_by_fact
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import EditTarget, Fact
from knedit.solved import EditGate
from knedit.starter.held_out import held_out_text

TOKENS = 2_048  # of the held-out text
FACTS = 1_000  # protected and earlier ones that are asked, at most
_NAMED = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A fact that is asked once: `kind` is the gate that it counts for, `said` whether its answer is to be given."""

    kind: str
    target: str
    query: Query
    said: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What a model was seen to do: the held-out text's perplexity (None: it has none), and which answers it gives."""

    perplexity: float | None
    given: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Exam:
    """What a model is asked at the gates, and the thresholds that count."""

    questions: tuple[Question, ...]
    thresholds: Mapping[str, float]

    def look(self, model: Model) -> Look:
        """Ask a model as it stands."""
        causal = not (model.masked or model.encoder_decoder)
        found = None
        if causal and "perplexity" in self.thresholds:
            found = perplexity(model, held_out_text(), limit=TOKENS)
        return Look(found, tuple(one.correct for one in answer(model, [one.query for one in self.questions])))


def make_exam(
    catalog: Catalog, model: Model, targets: Sequence[EditTarget], earlier: Earlier, thresholds: Mapping[str, float]
) -> Exam:
    """Return the exam of an edit: its own facts, protected ones and those of earlier edits, one prompt each."""
    edited = {one.fact_id: one for one in targets if one.operation != "amplify"}
    others = [fact for fact in catalog.facts() if fact.id not in {one.fact_id for one in targets}]
    before = [fact for fact in others if fact.id in earlier.targets][:FACTS]
    kept = [fact for fact in others if fact.status == "protected" and fact.id not in earlier.targets][:FACTS]
    own = [fact for fact in catalog.facts() if fact.id in edited]
    prompts = prompts_by_fact(catalog, [*own, *before, *kept])
    keys = {relation.id: relation.key for relation in catalog.relations()}
    found = []

    def ask(kind: str, fact: Fact, new: str | None, *, said: bool) -> None:
        for prompt in prompts[fact.id]:
            wanted = replace(prompt, answer=new or prompt.answer)
            with suppress(ModelError):  # a prompt that the model cannot be asked tells nothing
                if usable(model, wanted):
                    target = f"{keys[fact.relation_id]}/{fact.subject}"
                    found.append(Question(kind, target, encode_prompt(model, wanted), said))
                    return

    for fact in own:
        present = earlier.present(fact.id, fact.object)
        updated = edited[fact.id].operation == "update"
        ask("success", fact, edited[fact.id].new_object if updated else present, said=updated)
    for fact in before:
        target = earlier.targets[fact.id]
        if target.operation != "amplify":
            ask("earlier", fact, target.new_object, said=target.operation == "update")
    for fact in kept:
        ask("protected", fact, None, said=True)
    return Exam(tuple(one for one in found if one.kind in thresholds), dict(thresholds))


def growth_of(model: Model, changes: Sequence[ValueChange]) -> float:
    """Return the largest factor by which a value vector's norm grew; short ones count as a tenth of their mean."""
    grown = [1.0]
    for change in changes:
        every = model.value_vectors(change.layer, range(model.layout.ffn_width)).double().norm(dim=-1)
        least = max(float(every.mean()) / 10, 1e-12)
        old, new = change.norms.unbind(1)
        grown.append(float((new / old.clamp(min=least)).max()))
    return max(grown)


def judge(exam: Exam, before: Look, after: Look, *, growth: float, forced: bool, edit_id: int) -> list[EditGate]:
    """Return the gates that could be measured, by name."""
    values: dict[str, float] = {"growth": growth} if "growth" in exam.thresholds else {}
    if before.perplexity is not None and after.perplexity is not None:
        values["perplexity"] = after.perplexity / before.perplexity - 1
    for kind in ("protected", "earlier", "success"):
        places = [n for n, one in enumerate(exam.questions) if one.kind == kind]
        if kind != "success":
            places = [n for n in places if before.given[n] == exam.questions[n].said]
        if places:
            values[kind] = sum(after.given[n] == exam.questions[n].said for n in places) / len(places)
    gates = []
    for name, value in sorted(values.items()):
        threshold = exam.thresholds[name]
        passed = value >= threshold if GATES[name][0] == LEAST else value <= threshold
        gates.append(EditGate(edit_id, name, value, threshold, passed, forced and not passed))
    return gates


def lost_targets(exam: Exam, before: Look, after: Look) -> dict[str, list[str]]:
    """Return, by gate, the facts that do not answer as they should."""
    found: dict[str, list[str]] = {}
    for question, was, now in zip(exam.questions, before.given, after.given, strict=True):
        counts = question.kind == "success" or was == question.said
        if counts and now != question.said:
            found.setdefault(question.kind, []).append(question.target)
    return found


def check_gates(gates: Sequence[EditGate], lost: Mapping[str, Sequence[str]], where: str) -> None:
    """Raise EditError naming the gates that failed, and facts; those that were forced are told as a warning."""
    for gate in gates:
        if gate.forced:
            logger.warning("%s: kept by force, though %s", where, _told(gate, lost))
    failed = [gate for gate in gates if not gate.passed and not gate.forced]
    if not failed:
        return
    told = [_told(gate, lost) for gate in failed]
    otherwise = "Edit fewer facts in one plan, let it leave out those that cost most (--on-failure skip)"
    if not any(gate.gate == "perplexity" for gate in failed):
        otherwise = "Plan it otherwise"
    raise EditError(
        f"the edit does not pass its gates: {'; '.join(told)}",
        where,
        f"{otherwise}, move the threshold (--gate {failed[0].gate}=X), or keep it all the same: --force.",
    )


def _told(gate: EditGate, lost: Mapping[str, Sequence[str]]) -> str:
    facts = lost.get(gate.gate, ())
    named = ", ".join(facts[:_NAMED]) + (f" and {len(facts) - _NAMED} more" if len(facts) > _NAMED else "")
    is_not = f"{gate.gate} is {gate.value:.3g}, not {GATES[gate.gate][0]} {gate.threshold:g}"
    return f"{is_not} ({named})" if named else is_not


@dataclass(slots=True)
class WrittenGates:
    """Puts the written model through an edit's gates: called with it, it returns what the manifest tells."""

    exam: Exam
    before: Look
    growth: float
    forced: bool
    edit_id: int
    found: list[EditGate]

    def __call__(self, model: Model) -> Mapping[str, Any]:
        after = self.exam.look(model)
        self.found = judge(self.exam, self.before, after, growth=self.growth, forced=self.forced, edit_id=self.edit_id)
        check_gates(self.found, lost_targets(self.exam, self.before, after), "the written files")
        return {"gates": [gate_table(gate) for gate in self.found]}


def gate_table(gate: EditGate) -> dict[str, Any]:
    """Return a gate as a manifest tells it."""
    return {
        "gate": gate.gate,
        "value": gate.value,
        "threshold": gate.threshold,
        "passed": gate.passed,
        "forced": gate.forced,
    }


def check_finite(changes: Sequence[ValueChange]) -> None:
    """Raise EditError for changes that are no numbers; no force helps there."""
    for change in changes:
        if not change.new.isfinite().all():
            raise EditError("the solved value vectors are not finite", f"layer {change.layer}", "Plan it otherwise.")
