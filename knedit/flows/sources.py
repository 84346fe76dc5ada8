"""What statistics are counted from: running text, and prompts with their subjects.

They come from files, the catalog and the starter set. Knows no model. The held-out text is never among it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from knedit.catalog.formats import knedit_jsonl
from knedit.catalog.store import Catalog
from knedit.errors import FactsError
from knedit.flows.facts import starter_file
from knedit.records import BLANK, Fact, Prompt
from knedit.starter.prose import prose
from knedit.starter.sentences import sentences

TOKENS = 20_000  # of running text, at most
SAMPLED = 128  # texts more that a causal model says of itself, where nobody named a text
SUBJECTS = 2_000  # prompts at whose subjects keys are counted, at most


@dataclass(frozen=True, slots=True)
class Source:
    """Texts to read, prompts with their subjects, and at most how many tokens of the texts; `name` tells a reader.

    `sampled` texts more are begun like these, and gone on with by the model itself where it can. `own_text` is the
    edition of knedit's own text where that is what is read.
    """

    name: str
    texts: tuple[str, ...]
    asked: tuple[tuple[Prompt, str], ...]
    tokens: int = TOKENS
    sampled: int = 0
    own_text: str = ""

    @property
    def edition(self) -> str:
        """The name, with the beginning of a sha256 of all that is counted."""
        asked = [[prompt.text, prompt.answer, subject] for prompt, subject in self.asked]
        told = [self.texts, asked, self.tokens, self.sampled]
        return f"{self.name}:{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]}"


def choose_source(
    catalog: Catalog, *, text: Path | None = None, datasets: Sequence[str] = (), tokens: int = TOKENS
) -> Source:
    """Return the source that a user names, else the default: the starter's text, its facts and the catalog's.

    With `text`, running text is the file's alone; with `datasets`, subjects are those of the catalog's facts from there
    alone, and their wordings are running text too. Raises FactsError where one of the two holds nothing.
    """
    facts = catalog.facts_of({"datasets": list(datasets)}) if datasets else catalog.facts()
    if datasets and not facts:
        raise FactsError("the catalog has no facts of the data set", ", ".join(datasets), "Run: knedit facts list")
    asked = _asked(catalog, facts)
    spoken: tuple[str, ...] = ()
    if not datasets:
        starter = _starter()
        spoken = _spoken(starter)
        known = {prompt.id for prompt, _ in asked}
        asked = [*asked, *(one for one in starter if one[0].id not in known)]
    else:
        spoken = _spoken(asked)
    texts = _paragraphs(text) if text is not None else (*prose(), *sentences(), *spoken)
    name = "+".join([f"text {text.name}" if text is not None else "starter", *datasets])
    sampled, own_text = (SAMPLED, own_text_edition()) if text is None else (0, "")
    return Source(name, texts, tuple(asked[:SUBJECTS]), tokens, sampled, own_text)


def starter_source(tokens: int = TOKENS) -> Source:
    """Return what comes with knedit alone, for models that no catalog knows."""
    asked = _starter()
    texts = (*prose(), *sentences(), *_spoken(asked))
    return Source("starter", texts, tuple(asked), tokens, SAMPLED, own_text_edition())


@cache
def own_text_edition() -> str:
    """Return the beginning of a sha256 of the text that comes with knedit, and how much of the model's own goes on it.

    Statistics of another edition are those of another version of knedit.
    """
    return hashlib.sha256(json.dumps([prose(), sentences(), SAMPLED]).encode()).hexdigest()[:12]


def _asked(catalog: Catalog, facts: Iterable[Fact]) -> list[tuple[Prompt, str]]:
    """Return one prompt of each fact that holds its subject, facts in the order of their ids, which is by chance."""
    chosen = sorted((fact for fact in facts if fact.status != "retired"), key=lambda fact: fact.id)[:SUBJECTS]
    subjects = {fact.id: fact.subject for fact in chosen}
    first: dict[int, Prompt] = {}
    for prompt in catalog.prompts(list(subjects), roles=("attribute",)):
        if prompt.status != "retired" and BLANK in prompt.text and subjects[prompt.fact_id] in prompt.text:
            first.setdefault(prompt.fact_id, prompt)
    return [(first[number], subject) for number, subject in subjects.items() if number in first]


def _starter() -> list[tuple[Prompt, str]]:
    records = list(knedit_jsonl.read(starter_file()))
    subjects = {one.id: one.subject for one in records if isinstance(one, Fact)}
    first: dict[int, Prompt] = {}
    for one in records:
        if isinstance(one, Prompt) and one.role == "attribute" and subjects[one.fact_id] in one.text:
            first.setdefault(one.fact_id, one)
    return [(prompt, subjects[number]) for number, prompt in first.items()]


def _spoken(asked: Sequence[tuple[Prompt, str]]) -> tuple[str, ...]:
    return tuple(prompt.text.replace(BLANK, prompt.answer or "") for prompt, _ in asked)


def _paragraphs(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cure = "Name a file of plain text in UTF-8."
        raise FactsError(f"the text cannot be read: {error}", str(path), cure) from None
    if found := tuple(line.strip() for line in text.splitlines() if line.strip()):
        return found
    raise FactsError("the text is empty", str(path), "Name a file of running text.")
