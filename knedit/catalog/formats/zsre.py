"""zsRE for editing: a JSON list of questions, each with a rephrasing, another fact's question, and a new answer.

A question without its subject is the relation; each of its right answers is a fact. The unrelated question is a
neighbour, and what follows from the new answer (portability) an implied prompt of the first. The new answer is told
as a RequestedRewrite, `pred`, an old model's guess, left out. Sources: Levy et al. 2017; Mitchell et al. 2022;
EasyEdit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, elements, reader, unrepeated
from knedit.catalog.formats.values import BrokenError, asked, listing, mapping, relation_key, together, trimmed
from knedit.records import Fact, FactSource, Prompt, Relation, RequestedRewrite

DATASET = "zsre"

Record = Relation | Fact | Prompt | FactSource | RequestedRewrite


def fits(glimpse: Glimpse) -> bool:
    return glimpse.kind == "list" and {"src", "answers", "subject"} <= glimpse.keys


@reader
def read(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each question's relation, facts, prompts, source (the question) and wish."""
    return unrepeated(each(elements(path, fault), _records, fault))


def _records(value: Any) -> list[Record]:
    record = mapping(value, "The record", ("subject", "src", "answers"))
    subject = trimmed(record["subject"], "The subject")
    question, key = asked(record["src"], "The question"), trimmed(record["src"], "The question")
    answers = [trimmed(answer, "An answer") for answer in listing(record["answers"], "The answers")]
    if not answers:
        raise BrokenError("The question has no answer", "Give it one.")
    if subject not in key:
        raise BrokenError(f'The question "{key}" does not name its subject "{subject}"', "Put the subject into it.")
    relation = Relation.make(relation_key(key.replace(subject, "…").replace("/", "∕")))
    found: list[Record] = [relation]
    for answer in dict.fromkeys(answers):
        fact = Fact.make(relation.id, subject, answer)
        found += [fact, Prompt.make(fact.id, "attribute", question, answer)]
        if record.get("rephrase"):
            found.append(Prompt.make(fact.id, "paraphrase", asked(record["rephrase"], "The rephrasing"), answer))
        found.append(FactSource(fact.id, *together((DATASET, key), "The question")))
    return [*found, *_around(record, Fact.make(relation.id, subject, answers[0]).id, key)]


def _around(record: dict[str, Any], fact_id: int, key: str) -> Iterator[Record]:
    """Yield what stands around the first fact: the unrelated question, the implied one, and the new answer."""
    if record.get("loc") and record.get("loc_ans"):
        answer = trimmed(record["loc_ans"], "The unrelated answer")
        yield Prompt.make(fact_id, "neighbour", asked(record["loc"], "The unrelated question"), answer)
    if "portability" in record:
        implied = mapping(record["portability"], "The portability", ("New Question", "New Answer"))
        answer = trimmed(implied["New Answer"], "The new question's answer")
        yield Prompt.make(fact_id, "implied", asked(implied["New Question"], "The new question"), answer)
    if record.get("alt"):
        wish = (DATASET, key, trimmed(record["alt"], "The new answer"))
        yield RequestedRewrite(fact_id, *together(wish, "Question and new answer"))
