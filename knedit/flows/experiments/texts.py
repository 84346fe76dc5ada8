"""Where texts about facts come from: knedit's own and the catalog's wordings, a user's files, the paper's web texts.

Each fact is given texts of three kinds (see `analysis.texts`), as the model reads them.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knedit.analysis.texts import Hidden, Shelf, hide_object, hide_some_word, sentences_of, some
from knedit.errors import FactsError, ModelError
from knedit.flows.experiments.lab import Lab, Subject
from knedit.models.model import Model
from knedit.models.prompting import Query, blank_text
from knedit.records import BLANK, Fact, fingerprint
from knedit.starter.prose import prose
from knedit.starter.sentences import sentences

PER_KIND = 10  # texts of a fact, as in the paper
LENT = 40  # facts of a relation whose wordings are spoken as texts
_DISTANT = re.compile(r"distant.*?(P\d+)")
_PAIRS = "query_pairs.json"
_LARGEST = 2**28  # bytes of a file of texts

Bags = dict[str, list[str]]


@dataclass
class Library:
    """All texts that there are: a shelf of any, and those that were gathered for a fact, by (relation, pair)."""

    shelf: Shelf = field(default_factory=Shelf)
    gathered: dict[tuple[str, str, str], Bags] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def texts_of(self, lab: Lab, subject: Subject) -> dict[str, list[tuple[Hidden, Query]]]:
        """Return a fact's texts by kind, with a word hidden, at most ten a kind; a text that cannot be read is none."""
        fact, seed = subject.fact, f"{lab.scope.seed} {subject.fact.id}"
        own = {_spoken(prompt.text, fact) for prompt in lab.catalog.prompts([fact.id], roles=("attribute",))}
        behind = not (lab.model.masked or lab.model.encoder_decoder)
        bags = self._bags(subject, own, seed, behind=behind)
        hidden = {
            "T1": [hide_object(text, fact.subject, fact.object, behind=behind) for text in bags["T1"]],
            "T2": [hide_some_word(text, fact.subject, f"{seed} {text}", behind=behind) for text in bags["T2"]],
            "T3": [hide_some_word(text, "", f"{seed} {text}", behind=behind) for text in bags["T3"]],
        }
        return {kind: _readable(lab.model, found) for kind, found in hidden.items()}

    def _bags(self, subject: Subject, own: set[str], seed: str, *, behind: bool) -> Mapping[str, Sequence[str]]:
        fact = subject.fact
        given = self.gathered.get((subject.relation, fact.subject, fact.object), {})
        about = [text for text in self.shelf.holding(fact.subject) if text not in own]
        both = [text for text in about if hide_object(text, fact.subject, fact.object, behind=behind) is not None]
        head = [text for text in about if fact.object not in text]
        drawn = some(self.shelf.texts, 4 * PER_KIND, f"{seed} T3") if self.shelf.texts else []
        neither = [text for text in drawn if fact.subject not in text and fact.object not in text]
        return {
            "T1": [*given.get("T1", []), *some(both, PER_KIND, f"{seed} T1")][:PER_KIND],
            "T2": [*given.get("T2", []), *some(head, PER_KIND, f"{seed} T2")][:PER_KIND],
            "T3": neither[:PER_KIND],
        }


def read_library(lab: Lab, files: Sequence[Path]) -> Library:
    """Return the texts of some files, or, where none is named, knedit's own and the catalog's wordings.

    A file named distant_P36.json holds the paper's web texts of a relation, in the order of query_pairs.json; any other
    is running text. Raises FactsError for what cannot be read.
    """
    library = Library()
    for path in files:
        for file in _files(path):
            library.names.append(file.name)
            if (found := _DISTANT.search(file.name)) and file.suffix == ".json":
                _gather(lab, library, found[1], file)
            else:
                library.shelf.add(sentences_of(read_text(file)))
    if not files:
        library.names.append("knedit's own and the catalog's wordings")
        library.shelf.add([*(part for text in prose() for part in sentences_of(text)), *sentences()])
        library.shelf.add(_wordings(lab))
    if not library.shelf.texts:
        raise FactsError("there is no sentence in the texts", ", ".join(map(str, files)), "Name a file that has some.")
    return library


def named_edition(library: Library) -> str:
    """Return what a configuration says of the texts: where they come from, and which they are."""
    told = [library.shelf.texts, sorted([*key, *map(list, bags.values())] for key, bags in library.gathered.items())]
    return f"{', '.join(library.names)}: {fingerprint('texts', told):016x}"


def read_text(path: Path) -> str:
    """Return a file's text. Raises FactsError where it is not there, too large, or no UTF-8."""
    try:
        if path.stat().st_size > _LARGEST:
            raise FactsError(f"the file is larger than {_LARGEST:,} bytes", str(path), "Break it into several.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FactsError(
            f"the text is not UTF-8: byte {error.start} cannot be read", str(path),
            f"Convert it: iconv -f latin1 -t utf-8 {path.name}",
        ) from None  # fmt: skip
    except OSError as error:
        raise FactsError(
            f"the text cannot be read: {error.strerror or error}", str(path), "Name a text file."
        ) from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix == ".txt" or _DISTANT.search(file.name))
    if not found:
        raise FactsError("the folder holds no texts", str(path), "Name .txt files, or a folder of distant_P….json.")
    return found


def _gather(lab: Lab, library: Library, relation: str, file: Path) -> None:
    bags, pairs = _json(file), _pairs_of(lab, relation, file)
    if not isinstance(bags, list):
        raise FactsError("the file is no list of texts by fact", str(file), "Name one that the paper's code reads.")
    for number, bag in enumerate(bags):
        if number not in pairs:
            continue
        if not isinstance(bag, dict) or not all(isinstance(bag.get(key), list) for key in ("th_bags", "h_bags")):
            raise FactsError("an entry has no th_bags and h_bags", f"{file}, entry {number + 1}", "Repair the file.")
        own = {"T1": list(map(str, bag["th_bags"])), "T2": list(map(str, bag["h_bags"]))}
        library.gathered[(relation, *pairs[number])] = own
        library.shelf.add([*own["T1"][:1], *own["T2"][:1]])


def _pairs_of(lab: Lab, relation: str, file: Path) -> dict[int, tuple[str, str]]:
    """Return subject and object by their place in the paper's list, from the list itself or the catalog's sources."""
    beside = file.parent / _PAIRS
    if beside.is_file():
        listed = _json(beside)
        return {n: (str(one[0]), str(one[1])) for n, one in enumerate(listed.get(relation, []))}
    facts = lab.catalog.facts(relation=relation) if relation in lab.keys.values() else []
    known = {fact.id: fact for fact in facts}
    found = {}
    for source in lab.catalog.sources(list(known)):
        if source.dataset == "kn-paper" and source.key.startswith(f"{relation}#"):
            fact = known[source.fact_id]
            found[int(source.key.partition("#")[2])] = (fact.subject, fact.object)
    if not found:
        cure = f"Put {_PAIRS} beside it, or import the paper's facts: knedit facts import DIR --format kn-paper"
        raise FactsError("it cannot be told which texts are of which fact", str(file), cure)
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FactsError(f"the file is no JSON: {error}", str(path), "Repair the file.") from None


def _wordings(lab: Lab) -> Iterator[str]:
    """Yield the catalog's wordings, spoken with their answers, and beginnings of texts, of some facts of a relation."""
    by_relation: dict[int, list[Fact]] = defaultdict(list)
    for fact in sorted(lab.catalog.facts(), key=lambda fact: fact.id):
        if fact.status != "retired":
            by_relation[fact.relation_id].append(fact)
    for facts in by_relation.values():
        chosen = {fact.id: fact for fact in facts[:LENT]}
        for prompt in lab.catalog.prompts(list(chosen), roles=("attribute", "paraphrase", "generate")):
            if prompt.status != "retired":
                yield _spoken(prompt.text, chosen[prompt.fact_id])


def _spoken(text: str, fact: Fact) -> str:
    return " ".join(text.replace(BLANK, fact.object).split())


def _readable(model: Model, hidden: Sequence[Hidden | None]) -> list[tuple[Hidden, Query]]:
    queries = [(one, query_of(model, one.text)) for one in hidden if one is not None]
    return [(one, query) for one, query in queries if query is not None]


def query_of(model: Model, text: str) -> Query | None:
    """Return a query whose one position is where a text's hidden word is due; None for what the model cannot read."""
    try:
        blank = blank_text(model, text)
    except ModelError:
        return None
    at = blank.masks[0] if blank.masks else len(blank.tokens) - 1
    return Query(blank.tokens, (0,), (at,), context=blank.context)
