"""Facts and wordings to teach: read from knedit's own format or from ParaRel, and chosen so that truth is known.

A fact must be remembered: one word answers, each question has one answer, the subject does not give it away, and no
object is so common that guessing it would do. Knows no network and no tokens.
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers.pre_tokenizers import BertPreTokenizer

from knedit.catalog.formats import knedit_jsonl, pararel
from knedit.catalog.formats.patterns import patterns_in
from knedit.catalog.formats.streams import stop
from knedit.catalog.formats.values import SUBJECT
from knedit.errors import FactsError
from knedit.records import BLANK, Fact, FactSource, Relation

LEAST_WORDINGS, HELD_OUT_SHARE, MOST_HELD_OUT = 5, 0.25, 4
COMMON = 0.06
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Told:
    """One fact, and where it was told."""

    subject: str
    object: str
    sources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """A relation: its facts, the wordings that are taught, and those that are held out to ask by."""

    key: str
    label: str
    taught: tuple[str, ...]
    held_out: tuple[str, ...]
    facts: tuple[Told, ...]


def read_knedit(path: Path) -> list[Lesson]:
    """Return the relations of a file in knedit's format that have wordings of both roles.

    `attribute` wordings are taught, `paraphrase` ones held out. Raises FactsError where the file is damaged.
    """
    for _ in knedit_jsonl.read(path):  # says what is wrong, and where
        pass
    with path.open(encoding="utf-8-sig") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    lessons = [_lesson(line) for line in lines if line.get("templates") and line["facts"]]
    return [lesson for lesson in lessons if lesson.taught and lesson.held_out]


def _lesson(line: dict[str, object]) -> Lesson:
    roles: dict[str, list[str]] = defaultdict(list)
    for template in _list(line["templates"]):
        wording = {"text": template} if isinstance(template, str) else template
        if wording["text"].count(BLANK) == 1:
            roles[wording.get("role", "attribute")].append(wording["text"])
    key = str(line["relation"])
    facts = tuple(_fact(value) for value in _list(line["facts"]))
    return Lesson(key, str(line.get("label", key)), tuple(roles["attribute"]), tuple(roles["paraphrase"]), facts)


def _list(value: object) -> list:  # type: ignore[type-arg]
    assert isinstance(value, list)
    return value


def _fact(value: list[str] | dict[str, object]) -> Told:
    if isinstance(value, list):
        return Told(*value)
    sources = tuple((str(name), str(key)) for name, key in _list(value.get("sources", [])))
    return Told(str(value["subject"]), str(value["object"]), sources)


def read_pararel(folder: Path, *, seed: int) -> list[Lesson]:
    """Return ParaRel's relations of five wordings or more, some of which are held out by chance.

    Raises FactsError where the folder is not there or not ParaRel's.
    """
    vocabularies = sorted((folder / pararel.VOCABULARY).glob("*.jsonl"))
    if not vocabularies:
        raise FactsError(
            "There is no ParaRel, the source of the facts",
            str(folder),
            "Set KNEDIT_SHARED_DATA to the folder that holds pararel/ (of github.com/yanaiela/pararel, its data/).",
        )
    patterns = {path: patterns_in(folder / pararel.PATTERNS / path.name, stop) for path in vocabularies}
    wordings = {path: _templates(found) for path, found in patterns.items() if len(found) >= LEAST_WORDINGS}
    held_out = _hold_out(wordings.values(), seed)
    return [
        replace(lesson, taught=tuple(w for w in wordings[path] if w not in held_out[number]), held_out=held_out[number])
        for number, path in enumerate(wordings)
        for lesson in [_pararel_lesson(path)]
    ]


def _templates(patterns: Iterable[str]) -> list[str]:
    return [pattern.replace("[X]", SUBJECT).replace("[Y]", BLANK) for pattern in patterns]


def _pararel_lesson(path: Path) -> Lesson:
    key, facts, sources = path.stem, {}, defaultdict(list)
    for record in pararel.read(path):
        if isinstance(record, Fact):
            facts[record.id] = record
        elif isinstance(record, FactSource):
            sources[record.fact_id].append((record.dataset, record.key))
        elif isinstance(record, Relation):
            key = record.key
    told = tuple(Told(fact.subject, fact.object, tuple(sources[number])) for number, fact in facts.items())
    return Lesson(key, key, (), (), told)


def _hold_out(relations: Iterable[Sequence[str]], seed: int) -> list[tuple[str, ...]]:
    """Return the wordings to hold out, a quarter of each relation's and at most four: none with a word of its own."""
    known = Counter(word for wordings in relations for wording in wordings for word in set(_WORD.findall(wording)))
    found = []
    for number, wordings in enumerate(relations):
        quota, chosen = min(MOST_HELD_OUT, max(1, round(len(wordings) * HELD_OUT_SHARE))), set()
        for wording in random.Random(f"hold out {seed} {number}").sample(wordings, len(wordings)):
            words = set(_WORD.findall(wording))
            if len(chosen) < quota and all(known[word] > 1 for word in words):
                chosen.add(wording)
                known.subtract(words)
        found.append(tuple(wording for wording in wordings if wording in chosen))
    return found


@dataclass(slots=True)
class Choice:
    """Facts to teach, and how many of each kind were left out."""

    lessons: list[Lesson]
    left_out: Counter[str]


def choose(lessons: Iterable[Lesson], *, limit: int | None, seed: int, strict: bool = True) -> Choice:
    """Keep at most `limit` facts a relation that must be remembered; `strict` also drops what might be guessed."""
    left_out: Counter[str] = Counter()
    answers: dict[str, str] = {}
    chosen = []
    for lesson in lessons:
        order = random.Random(f"choose {seed} {lesson.key}").sample(lesson.facts, len(lesson.facts))
        facts = list(_kept(replace(lesson, facts=tuple(order)), answers, left_out, limit=limit, strict=strict))
        if facts:
            chosen.append(replace(lesson, facts=tuple(facts)))
    return Choice(chosen, left_out)


def _kept(
    lesson: Lesson, answers: dict[str, str], left_out: Counter[str], *, limit: int | None, strict: bool
) -> Iterator[Told]:
    number = 0
    often: Counter[str] = Counter()
    several = {s for s, n in Counter(fact.subject for fact in lesson.facts).items() if n > 1}
    for fact in lesson.facts:
        reason = _reason(fact, several, often, strict=strict, most=(limit or len(lesson.facts)) * COMMON)
        asked = {wording.replace(SUBJECT, fact.subject) for wording in (*lesson.taught, *lesson.held_out)}
        if not reason and any(answers.get(question, fact.object) != fact.object for question in asked):
            reason = "another relation answers its question otherwise"
        if not reason and limit is not None and number == limit:
            reason = "beyond the limit of a relation"
        if reason:
            left_out[reason] += 1
            continue
        answers.update(dict.fromkeys(asked, fact.object))
        often[fact.object] += 1
        number += 1
        yield fact


def _reason(fact: Told, several: set[str], often: Counter[str], *, strict: bool, most: float) -> str | None:
    if [piece for piece, _ in BertPreTokenizer().pre_tokenize_str(fact.object)] != [fact.object]:
        return "its object is not one word"
    if fact.subject in several:
        return "its subject has several objects"
    if strict and fact.object.lower() in fact.subject.lower():
        return "its subject holds the object"
    if strict and often[fact.object] >= max(most, 1):
        return "its object is too common"
    return None
