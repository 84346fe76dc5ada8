"""Ask many prompts of a model as it stands, and remember what the untouched one said.

Knows no experiment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from knedit.analysis.update import Heard
from knedit.evaluation.cases import Question
from knedit.evaluation.replies import ask
from knedit.models.model import Model
from knedit.records import Prompt

AT_ONCE = 256  # questions


@dataclass(slots=True)
class Asking:
    """Asks one model; `before` must be called while it is untouched."""

    model: Model
    _known: dict[tuple[str, str], Heard] = field(default_factory=dict)

    def before(self, asked: Sequence[tuple[str, str]]) -> list[Heard]:
        """Return what each text says of an answer, asked once for all times."""
        new = [one for one in dict.fromkeys(asked) if one not in self._known]
        self._known |= dict(zip(new, self.now(new), strict=True))
        return [self._known[one] for one in asked]

    def now(self, asked: Sequence[tuple[str, str]]) -> list[Heard]:
        """Return what each text says of an answer, as the model is at this moment."""
        found: list[Heard] = []
        for first in range(0, len(asked), AT_ONCE):
            some = asked[first : first + AT_ONCE]
            for reply in ask(self.model, [Question(text, (answer,)) for text, answer in some]):
                (told,) = reply.told
                found.append(Heard(told.loss, told.likeliest, reply.top))
        return found


def asked_of(prompts: Sequence[Prompt]) -> list[tuple[str, str]]:
    """Return prompts as texts with the answers that are right there."""
    return [(prompt.text, prompt.answer) for prompt in prompts if prompt.answer is not None]
