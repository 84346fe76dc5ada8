"""Measure what a model says to the prompts that an edit is judged by: numbers and texts, prompt by prompt.

The same function measures the parent and the child, so that before and after are taken alike. Knows no catalog.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from knedit.errors import ModelError
from knedit.evaluation.metrics import answer, write
from knedit.models.model import Model
from knedit.models.prompting import encode_prompt, usable
from knedit.records import Prompt


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt to ask; `new` is the answer that an update wishes for; `written` asks for generated text too."""

    prompt: Prompt
    new: str | None = None
    written: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value. `metric`: probability, correct (0 or 1), new_probability, new_correct, generated (a text)."""

    fact_id: int
    prompt_id: int
    metric: str
    value: float | None = None
    text: str | None = None


def measure(model: Model, probes: Sequence[Probe]) -> list[Measure]:
    """Ask every probe that this model can be asked; prompts that it cannot read or answer give no measures."""
    asked = [(probe, "") for probe in probes] + [(probe, "new_") for probe in probes if probe.new is not None]
    queries, owners = [], []
    for probe, prefix in asked:
        prompt = replace(probe.prompt, answer=probe.new) if prefix else probe.prompt
        if not usable(model, prompt):
            continue
        try:
            queries.append(encode_prompt(model, prompt))
        except ModelError:
            continue
        owners.append((probe.prompt, prefix))
    found = []
    for (prompt, prefix), said in zip(owners, answer(model, queries), strict=True):
        found.append(Measure(prompt.fact_id, prompt.id, f"{prefix}probability", said.probability))
        found.append(Measure(prompt.fact_id, prompt.id, f"{prefix}correct", float(said.correct)))
    asked_ids = {prompt.id for prompt, _ in owners}
    for probe in probes:
        if probe.written and (probe.prompt.id in asked_ids or probe.prompt.answer is None):
            with suppress(ModelError):
                text = write(model, probe.prompt.text)
                found.append(Measure(probe.prompt.fact_id, probe.prompt.id, "generated", text=text))
    return found
