"""Search words as people type them, as each database wants them: no input is an error of syntax.

Words must all be found; `"some words"` together and in this order; `word*` is a beginning. Everything else that a
database's own language knows (operators, columns, parentheses) is no more than a boundary between words.
"""

import re
from dataclasses import dataclass

from knedit.errors import CatalogError

LONGEST = 500  # characters: PostgreSQL takes no word above two kilobytes
MOST = 50  # words and phrases: each is one more level of a statement's tree

_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')
_UNKEEPABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase that must be found; where `beginning`, a word that begins so is enough."""

    text: str
    beginning: bool = False


def read_words(typed: str) -> list[Term]:
    """Return what is searched for; raise CatalogError where that is nothing, or too much."""
    if len(typed) > LONGEST:
        raise CatalogError(f"A search of {len(typed)} characters is too long", cure=f"Give at most {LONGEST}.")
    found = [_term(phrase, word) for phrase, word in _TERM.findall(_UNKEEPABLE.sub(" ", typed))]
    terms = [term for term in found if any(letter.isalnum() for letter in term.text)]
    if not terms:
        raise CatalogError(
            "There is no word to search for", cure='Give words, beginnings (Fran*) or a "quoted phrase".'
        )
    if len(terms) > MOST:
        raise CatalogError(f"A search for {len(terms)} words is too long", cure=f"Give at most {MOST}.")
    return terms


def _term(phrase: str, word: str) -> Term:
    return Term(word.rstrip("*"), beginning=word.endswith("*")) if word else Term(phrase)


def for_fts5(terms: list[Term]) -> str:
    """Return the terms as SQLite's FTS5 reads them; no term holds a quotation mark."""
    return " AND ".join(f'"{term.text}"{" *" if term.beginning else ""}' for term in terms)


def for_tsquery(term: Term) -> str:
    """Return a beginning as PostgreSQL's to_tsquery reads it."""
    quoted = term.text.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}':*"
