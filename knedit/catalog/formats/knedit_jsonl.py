"""knedit's own format of facts: one JSON object a line, a relation with its facts or a single fact.

    {"relation": "capital", "label": "capital of a country", "templates": ["The capital of {subject} is {object}."],
     "facts": [["France", "Paris"], {"subject": "Japan", "object": "Tokyo", "status": "protected"}]}
    {"relation": "capital", "subject": "France", "object": "Paris", "prompts": ["The Louvre is in {object}."]}

(Each object on one line.) Knows nothing of the catalog that the records go to.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from knedit.catalog.schema import SUBJECT_LENGTH
from knedit.errors import FactsError
from knedit.records import BLANK, ROLES, STATUSES, Fact, Prompt, Relation

SUBJECT = "{subject}"

_BOM = b"\xef\xbb\xbf"
_ONE_A_LINE = "Write one JSON object a line, each with its relation."

Record = Relation | Fact | Prompt


class _LineError(Exception):
    """What is wrong with a line, and its cure; the file and the line are added where they are known."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what, cure)
        self.what = what
        self.cure = cure


@dataclass(frozen=True, slots=True)
class _Wording:
    text: str
    role: str = "attribute"
    language: str = "en"
    answer: str | None = None


def read(path: Path) -> Iterator[Record]:
    """Yield each line's relation, facts and prompts, a line at a time, each before what hangs on it.

    A line's records come only if the whole line is right. Raise FactsError, naming the file, the line and the cure,
    where it is not, and where the file holds no record.
    """
    empty = True
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    records = _records(line.removeprefix(_BOM) if number == 1 else line)
                except _LineError as fault:
                    raise FactsError(fault.what, f"{path}, line {number}", fault.cure) from None
                empty = empty and not records
                yield from records
    except OSError as error:
        raise FactsError(
            f"The file cannot be read: {error.strerror}", str(path), "Check its name and rights."
        ) from None
    if empty:
        raise FactsError("The file holds no record", str(path), _ONE_A_LINE)


def _records(line: bytes) -> list[Record]:
    if not line.strip():
        return []
    parsed = _parse(line)
    if "subject" in parsed or "object" in parsed:
        _keys(parsed, "The record", required=("relation", "subject", "object", "prompts"), allowed=("status",))
        relation = Relation.make(_key(parsed["relation"]))
        return [relation, *_fact(relation, {key: parsed[key] for key in parsed if key != "relation"}, [])]
    _keys(parsed, "The record", required=("relation", "facts"), allowed=("label", "templates"))
    relation = Relation.make(_key(parsed["relation"]), _text(parsed.get("label", parsed["relation"]), "The label"))
    templates = [_template(value) for value in _list(parsed.get("templates", []), "The templates")]
    facts = _list(parsed["facts"], "The facts")
    if not facts:
        raise _LineError("The relation has no facts", 'Give it at least one: "facts": [["France", "Paris"]].')
    return [relation, *(record for value in facts for record in _fact(relation, value, templates))]


def _parse(line: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(line.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise _LineError(f"Byte {error.start + 1} of the line is not UTF-8", "Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise _LineError(f"The line is not JSON: {error.msg} at character {error.pos + 1}", _ONE_A_LINE) from None
    except (ValueError, RecursionError):
        raise _LineError("The line is not JSON that can be read", _ONE_A_LINE) from None
    if not isinstance(parsed, dict):
        raise _LineError("The line is not a JSON object", _ONE_A_LINE)
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise _LineError(f'The key "{twice[0]}" stands twice in one object', "Keep one of the two.")
    return dict(pairs)


def _fact(relation: Relation, value: Any, templates: list[_Wording]) -> Iterator[Record]:
    if isinstance(value, list):
        if len(value) != 2:
            raise _LineError(f"A fact has {len(value)} parts", 'Write it as ["SUBJECT", "OBJECT"].')
        value = {"subject": value[0], "object": value[1]}
    _keys(value, "A fact", required=("subject", "object"), allowed=("status", "prompts"))
    subject, object = _noun(value["subject"], "The subject"), _noun(value["object"], "The object")
    status = _choice(value.get("status", "proposed"), "status", STATUSES)
    fact = Fact.make(relation.id, subject, object, status)
    wordings = templates + [_prompt(prompt) for prompt in _list(value.get("prompts", []), "The prompts")]
    if not wordings:
        raise _LineError(f'The fact of "{subject}" has no prompt', "Give it prompts, or its relation templates.")
    yield fact
    for one in wordings:
        answer = None if one.role == "generate" else one.answer or object
        yield Prompt.make(fact.id, one.role, one.text.replace(SUBJECT, subject), answer, language=one.language)


def _template(value: Any) -> _Wording:
    wording = _wording(value, "A template", ("role", "language"))
    if SUBJECT not in wording.text:
        raise _LineError(f'The template "{wording.text}" lacks {SUBJECT}', f"Write {SUBJECT} where the subject stands.")
    return wording


def _prompt(value: Any) -> _Wording:
    return _wording(value, "A prompt", ("role", "language", "answer"))


def _wording(value: Any, what: str, allowed: Sequence[str]) -> _Wording:
    if isinstance(value, str):
        value = {"text": value}
    _keys(value, what, required=("text",), allowed=allowed)
    text, role = _text(value["text"], f"{what}'s text"), _choice(value.get("role", "attribute"), "role", ROLES)
    language, answer = _text(value.get("language", "en"), f"{what}'s language"), value.get("answer")
    if role == "generate":
        if BLANK in text or answer is not None:
            raise _LineError(
                f'{what} to generate from has an answer: "{text}"', f'Leave {BLANK} and "answer" out of it.'
            )
    elif text.count(BLANK) != 1:
        count = text.count(BLANK)
        raise _LineError(f'{what} has {count} times {BLANK}: "{text}"', f"Write {BLANK} once, where the answer stands.")
    return _Wording(text, role, language, None if answer is None else _noun(answer, "The answer"))


def _keys(value: Any, what: str, *, required: Sequence[str], allowed: Sequence[str]) -> None:
    if not isinstance(value, dict):
        raise _LineError(f"{what} is {_kind(value)}", f"Write an object with {_listed(required)}.")
    known = (*required, *allowed)
    for key in value:
        if key not in known:
            raise _LineError(f'{what} has an unknown key "{key}"', _near(key, known))
    for key in required:
        if key not in value:
            raise _LineError(f'{what} lacks the key "{key}"', f"It needs {_listed(required)}.")


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _LineError(f"{what} are {_kind(value)}", "Write a list: [ … ].")
    return value


def _key(value: Any) -> str:
    key = _noun(value, "The relation's key")
    if "/" in key:
        raise _LineError(
            f'The relation\'s key "{key}" has a "/"', "Facts are named RELATION/SUBJECT: choose another sign."
        )
    return key


def _noun(value: Any, what: str) -> str:
    text = _text(value, what)
    if SUBJECT in text or BLANK in text:
        raise _LineError(f'{what} holds a blank: "{text}"', f"Keep {SUBJECT} and {BLANK} to templates and prompts.")
    if len(text) > SUBJECT_LENGTH:
        raise _LineError(f"{what} is {len(text)} characters long", f"Give at most {SUBJECT_LENGTH}.")
    return text


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _LineError(f"{what} is {_kind(value)}", "Write it as text, in quotes.")
    if not value.strip():
        raise _LineError(f"{what} is empty", "Write it out.")
    if value != value.strip():
        raise _LineError(f'{what} begins or ends with a blank: "{value}"', "Take the blank away.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise _LineError(f"{what} holds a NUL or half a character: {value!a}", "Take it away.")
    return value


def _choice(value: Any, what: str, options: Sequence[str]) -> str:
    if value not in options:
        raise _LineError(f"There is no {what} {json.dumps(value)}", _near(str(value), options))
    return str(value)


def _near(word: str, known: Sequence[str]) -> str:
    if near := get_close_matches(word, known, n=1):
        return f'Did you mean "{near[0]}"?'
    return f"Known are {_listed(known)}."


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")
