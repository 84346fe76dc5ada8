"""The scores of an edit in its written files: measured before the folder appears, told in knedit.json, asked again.

What is told of them are means, some texts, and a sample of prompts with the answers' probabilities, so that whoever
has the folder can ask the same. No sample holds what was erased; with `private`, nothing about other facts either, for
these may be near the erased ones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from knedit.catalog.store import Catalog
from knedit.errors import CheckpointError, ModelError
from knedit.evaluation.measure import measure
from knedit.evaluation.metrics import answer
from knedit.evaluation.report import UNTOUCHED, Judged, kept_share, summarise
from knedit.flows.edit import Planned
from knedit.flows.evaluate import Asked, choose_probes, judge, pair
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import BLANK, Checkpoint, Evaluation, Prompt
from knedit.starter.sentences import sentences

DTYPE = "float32"  # of the computation
TOLERANCE = 0.005  # of a probability: other devices and versions round otherwise, another network says something else
PLAIN, EDITED, OTHERS = 8, 12, 8  # prompts of the sample: sentences that are about no fact; edited facts'; others'
_TEXTS = {"updated": 6, "same relation": 2, "other relations": 2}


@dataclass(slots=True)
class WrittenScores:
    """Measures parent and written model alike: called with the latter, it returns what the manifest tells.

    `found` are the values of every prompt, still without the written checkpoint's id.
    """

    catalog: Catalog
    planned: Planned
    parent: Model
    private: bool = False
    asked: Sequence[Asked] = ()
    found: list[Evaluation] = field(default_factory=list)

    def __call__(self, model: Model) -> Mapping[str, Any]:
        self.asked = choose_probes(self.catalog, self.planned)
        probes = [one.probe for one in self.asked]
        self.found = pair(self.planned.edit.id, 0, measure(self.parent, probes), measure(model, probes))
        judged = self.judged
        right, kept = kept_share(judged, UNTOUCHED)
        return {
            "summary": [asdict(line) for line in summarise(judged)],
            "untouched": {"right_before": right, "still_right": kept},
            "texts": list(_texts(judged, private=self.private)),
            "sample": _sample(model, _prompts(self.asked, private=self.private)),
        }

    @property
    def judged(self) -> list[Judged]:
        """What was measured, with its groups."""
        return judge(self.asked, self.found)

    def store(self, child: Checkpoint) -> None:
        """Put what was measured into the catalog."""
        self.found = [replace(one, checkpoint_id=child.id) for one in self.found]
        self.catalog.put_evaluations(self.found)


@dataclass(frozen=True, slots=True)
class Scores:
    """How many recorded prompts were asked again, and by how much a probability was off, at most."""

    asked: int
    largest: float
    tolerance: float

    @property
    def problem(self) -> str | None:
        """What is wrong, as a sentence, or None."""
        if self.largest <= self.tolerance:
            return None
        return (
            f"An answer's probability differs by {self.largest:.3g} from the one in knedit.json,"
            f" where {self.tolerance:g} is the tolerance"
        )


def check_scores(model: Model, evaluation: Mapping[str, Any]) -> Scores | None:
    """Ask a model the prompts that a manifest's evaluation recorded; return None where it recorded none.

    Raises CheckpointError for a record that is malformed, or that the model cannot be asked.
    """
    if "sample" not in evaluation:
        return None
    prompts, wanted, tolerance = _read(evaluation["sample"])
    try:
        queries = [_query(model, prompt) for prompt in prompts]
    except ModelError as error:
        raise CheckpointError(f"A recorded prompt cannot be asked: {error}", "knedit.json") from error
    given = [one.probability for one in answer(model, queries)]
    off = [abs(one - old) for one, old in zip(given, wanted, strict=True)]
    return Scores(len(prompts), max(off, default=0.0), tolerance)


def _prompts(asked: Iterable[Asked], *, private: bool) -> Iterator[Prompt]:
    """Yield the prompts of the sample, the answers that were wished for in place of the old ones."""
    left = {"edited": EDITED, "others": OTHERS}
    for one in asked:
        kind = _kind(one, private=private)
        if kind and left[kind]:
            left[kind] -= 1
            yield replace(one.probe.prompt, answer=one.probe.new or one.probe.prompt.answer)
    yield from _plain_prompts()


def _kind(asked: Asked, *, private: bool) -> str | None:
    """Return what a prompt counts for in the sample: None where it would tell what was erased, now or earlier."""
    if asked.probe.prompt.answer is None:
        return None
    if asked.group in ("updated", "amplified"):
        return "edited"
    safe = asked.group in ("same relation", "other relations")
    return "others" if safe and not private else None


def _plain_prompts() -> Iterator[Prompt]:
    for sentence in sentences()[:PLAIN]:
        head, _, last = sentence.rstrip(".!?").rpartition(" ")
        yield Prompt.make(0, "attribute", f"{head} {BLANK}", last)


def _sample(model: Model, prompts: Iterable[Prompt]) -> dict[str, Any]:
    asked, queries = [], []
    for prompt in prompts:
        with suppress(ModelError):  # a prompt that the model cannot be asked tells nothing
            if usable(model, prompt):
                queries.append(encode_prompt(model, prompt))
                asked.append(prompt)
    told = [
        {"text": prompt.text, "answer": prompt.answer, "probability": said.probability}
        for prompt, said in zip(asked, answer(model, queries), strict=True)
    ]
    return {"dtype": DTYPE, "tolerance": TOLERANCE, "prompts": told}


def _read(sample: Any) -> tuple[list[Prompt], list[float], float]:
    try:
        texts = [(one["text"], one["answer"], float(one["probability"])) for one in sample["prompts"]]
        tolerance = float(sample["tolerance"])
        if sample["dtype"] != DTYPE or not 0 <= tolerance < 1:
            raise ValueError("the sample's dtype or tolerance")
        if not all(isinstance(text, str) and isinstance(said, str) for text, said, _ in texts):
            raise ValueError("a prompt's text or answer")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The recorded scores are malformed: {error!r}", "knedit.json") from error
    return [Prompt.make(0, "attribute", *one[:2]) for one in texts], [one[2] for one in texts], tolerance


def _query(model: Model, prompt: Prompt) -> Query:
    if not usable(model, prompt):
        raise ModelError("this kind of model cannot be asked it", prompt.text)
    return encode_prompt(model, prompt)


def _texts(judged: Iterable[Judged], *, private: bool) -> Iterator[dict[str, Any]]:
    left = {"updated": _TEXTS["updated"]} if private else dict(_TEXTS)
    for one in judged:
        said = one.evaluation
        if said.metric == "generated" and left.get(one.group):
            left[one.group] -= 1
            yield {"group": one.group, "text": one.text, "before": said.text_before, "after": said.text_after}
