"""Who did something to the catalog, when, and in which words: what every remark is signed with and held to.

Knows nothing of tables.
"""

from datetime import UTC, datetime

from knedit.catalog.columns import LABEL_LENGTH
from knedit.errors import CatalogError
from knedit.settings import user_name


def author(by: str | None) -> str:
    """Return who signs: `by`, else whom the settings name. Raise CatalogError where that is nobody."""
    if name := (user_name() if by is None else by).strip():
        return kept(name, "author's name")
    raise CatalogError("Nobody signs this change of the catalog", cure="Say who with --by NAME, or set KNEDIT_USER.")


def moment(at: datetime | None) -> datetime:
    return datetime.now(UTC) if at is None else at


def told(text: str) -> str:
    """Return a note's text without the space around it; raise CatalogError where nothing is left."""
    if stripped := text.strip():
        return kept(stripped, "note")
    raise CatalogError("The note is empty", cure="Write what is to be remembered.")


def short(name: str, what: str) -> str:
    """Return a label or name without the space around it; raise CatalogError where it is empty or too long."""
    stripped = name.strip()
    if not stripped:
        raise CatalogError(f"The {what} is empty", cure="Give it a word.")
    if len(stripped) > LABEL_LENGTH:
        cure = f"Use {LABEL_LENGTH} at most; longer words make a note."
        raise CatalogError(f"The {what} has {len(stripped)} characters: {stripped[:20]}…", cure=cure)
    return kept(stripped, what)


def kept(text: str, what: str) -> str:
    """Return a text that both databases keep as it is; raise CatalogError for one with NUL or half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        refused = True
    else:
        refused = "\0" in text
    if refused:
        raise CatalogError(f"A catalog cannot keep the {what} {text[:40]!r}", cure="Leave NUL and half characters out.")
    return text
