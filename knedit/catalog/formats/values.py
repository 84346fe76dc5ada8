"""What a value out of a file may be, and how a person is told what is wrong with it.

Every check returns the value, or raises BrokenError. Knows nothing of files, lines and formats.
"""

import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from knedit.catalog.columns import SUBJECT_LENGTH
from knedit.records import BLANK

SUBJECT = "{subject}"
TEXT_LENGTH = 100_000  # characters of a prompt: more is no wording of a fact

Words = TypeVar("Words", bound=tuple[str, ...])

_SHOWN = 600  # characters of what a person is told


class BrokenError(Exception):
    """What is wrong with a record, and its cure; the file and the line are added where they are known."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what, cure)
        self.what = _printable(what)
        self.cure = _printable(cure)


def text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BrokenError(f"{what} is {kind(value)}", "Write it as text, in quotes.")
    if not value.strip():
        raise BrokenError(f"{what} is empty", "Write it out.")
    if len(value) > TEXT_LENGTH:
        raise BrokenError(f"{what} is {len(value)} characters long", f"Give at most {TEXT_LENGTH}.")
    if value != value.strip():
        raise BrokenError(f'{what} begins or ends with a blank: "{value}"', "Take the blank away.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BrokenError(f"{what} holds a NUL or half a character: {value[:80]!a}", "Take it away.")
    return value


def noun(value: Any, what: str) -> str:
    words = text(value, what)
    if SUBJECT in words or BLANK in words:
        raise BrokenError(f'{what} holds a blank: "{words}"', f"Keep {SUBJECT} and {BLANK} to templates and prompts.")
    if len(words) > SUBJECT_LENGTH:
        raise BrokenError(f"{what} is {len(words)} characters long", f"Give at most {SUBJECT_LENGTH}.")
    return words


def together(words: Words, what: str) -> Words:
    """Return the words, which one row of a table has to take side by side."""
    if (length := sum(map(len, words))) > SUBJECT_LENGTH:
        raise BrokenError(f"{what} is {length} characters long in all", f"Give at most {SUBJECT_LENGTH}.")
    return words


def relation_key(value: Any) -> str:
    key = noun(value, "The relation's key")
    if "/" in key:
        raise BrokenError(
            f'The relation\'s key "{key}" has a "/"', "Facts are named RELATION/SUBJECT: choose another sign."
        )
    return key


def trimmed(value: Any, what: str, check: Callable[[Any, str], str] = noun) -> str:
    """Return the value without blanks at its ends, of which published files have many, as `check` lets it pass."""
    return check(value.strip() if isinstance(value, str) else value, what)


def statement(value: Any, what: str) -> str:
    """Return a trimmed text that neither `{subject}` nor `{object}` stands in."""
    words = trimmed(value, what, text)
    if SUBJECT in words or BLANK in words:
        raise BrokenError(f'{what} holds a blank: "{words}"', f"Take {SUBJECT} and {BLANK} away.")
    return words


def asked(value: Any, what: str) -> str:
    """Return the text of a prompt that its answer follows."""
    return f"{statement(value, what)} {BLANK}"


def filled(value: Any, subject: str, what: str) -> str:
    """Return the text of a prompt that its answer follows, from a template with one `{}` for the subject."""
    words = statement(value, what)
    if words.count("{}") != 1:
        raise BrokenError(f'{what} has {words.count("{}")} times {{}}: "{words}"', "Write {} once, for the subject.")
    return f"{words.replace('{}', subject)} {BLANK}"


def choice(value: Any, what: str, options: Sequence[str]) -> str:
    if value not in options:
        raise BrokenError(f"There is no {what} {json.dumps(value)}", near(str(value), options))
    return str(value)


def mapping(value: Any, what: str, required: Sequence[str]) -> dict[str, Any]:
    """Return an object that has the required keys, among any others."""
    if not isinstance(value, dict):
        raise BrokenError(f"{what} is {kind(value)}", f"Write an object with {listed(required)}.")
    for key in required:
        if key not in value:
            raise BrokenError(f'{what} lacks the key "{key}"', f"It needs {listed(required)}.")
    return value


def keys(value: Any, what: str, *, required: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse what is no object, lacks a required key, or has a key that is not known."""
    if isinstance(value, dict):
        known = (*required, *allowed)
        for key in value:
            if key not in known:
                raise BrokenError(f'{what} has an unknown key "{key}"', near(key, known))
    mapping(value, what, required)


def listing(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BrokenError(f"{what} are {kind(value)}", "Write a list: [ … ].")
    return value


def parts(value: Any, what: str, count: int) -> list[Any]:
    """Return a list of exactly `count` parts."""
    if len(listing(value, what)) != count:
        raise BrokenError(f"{what} are {len(value)}", f"Write {count}.")
    return list(value)


def place(value: Any, what: str) -> int:
    """Return a number of a layer or neuron, counted from 0."""
    if type(value) is not int or not 0 <= value < 2**31:
        shown = value if type(value) is int and abs(value) < 2**63 else kind(value)
        raise BrokenError(f"{what} is {shown}", "Write a whole number from 0.")
    return value


def _printable(words: str) -> str:
    """Return words that a terminal and a log can take, whatever the file held: short, and signs of control escaped."""
    short = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in short)


def near(word: str, known: Sequence[str]) -> str:
    if found := get_close_matches(word[:200], known, n=1):
        return f'Did you mean "{found[0]}"?'
    return f"Known are {listed(known)}."


def listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")
