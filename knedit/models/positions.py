"""Which of a prompt's tokens is meant: the last one, the subject's last one, all of the subject's, or a number.

Knows the tokenizer, no network.
"""

from collections.abc import Callable, Mapping

from knedit.errors import KneditError, ModelError
from knedit.models.model import Model

Spans = list[tuple[int, int]]


def named_positions(model: Model, text: str, where: str, *, subject: str | None, answer: int) -> tuple[int, ...] | None:
    """Return the positions, from 0 and ascending, of a text as the model reads it; None means where the answer is due.

    `where` is a key of PLACES or a number of a token, negative from the end; `answer` is the position that predicts
    the answer, behind which a causal model's neurons cannot matter. Raises KneditError for another `where`, ModelError
    if the subject is not in the text or the position not before the answer.
    """
    if where == "answer":
        return None
    spans = _spans(model, text)
    if where in PLACES:
        found = PLACES[where](spans, _subject_span(text, subject, where), model)
    else:
        number = _number(where)
        found = (number + len(spans) if number < 0 else number,)
    last = len(spans) - 1 if model.masked else answer
    if not found or min(found) < 0 or max(found) > last:
        raise ModelError(
            f"the position {where!r} is not among the prompt's tokens 0 … {last}",
            f"prompt {text!r}",
            "Choose another --position, or retire the prompt.",
        )
    return found


def _last(spans: Spans, subject: tuple[int, int], model: Model) -> tuple[int, ...]:
    del subject, model
    return tuple(place for place, (low, high) in enumerate(spans) if high > low)[-1:]


def _subject(spans: Spans, subject: tuple[int, int], model: Model) -> tuple[int, ...]:
    del model
    start, end = subject
    return tuple(place for place, (low, high) in enumerate(spans) if low < end and high > start and high > low)


def _subject_last(spans: Spans, subject: tuple[int, int], model: Model) -> tuple[int, ...]:
    return _subject(spans, subject, model)[-1:]


PLACES: Mapping[str, Callable[[Spans, tuple[int, int], Model], tuple[int, ...]]] = {
    "last": _last,
    "subject": _subject,
    "subject-last": _subject_last,
}


def _spans(model: Model, text: str) -> Spans:
    """Return where each token begins and ends in the text; special tokens have no width."""
    if not model.tokenizer.is_fast:
        raise ModelError(
            "the tokenizer cannot tell where its tokens stand in the text",
            model.source,
            "Give the position as a number, or use the model's fast tokenizer (tokenizer.json).",
        )
    return [(low, high) for low, high in model.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]


def _subject_span(text: str, subject: str | None, where: str) -> tuple[int, int]:
    if not where.startswith("subject"):
        return 0, 0
    start = text.rfind(subject) if subject else -1
    if start < 0 or subject is None:
        raise ModelError(
            f"the subject {subject!r} does not stand in the prompt",
            f"prompt {text!r}",
            "Choose another --position, or correct the prompt.",
        )
    return start, start + len(subject)


def _number(where: str) -> int:
    try:
        return int(where)
    except ValueError:
        raise KneditError(
            f"there is no position {where!r}",
            "attribution",
            f"Choose one of answer, {', '.join(PLACES)}, or the number of a token.",
        ) from None
