"""What an edited checkpoint's card inherits from its parent: licence, languages, the base model's name on the Hub.

Read off the parent's own card and licence files, or told by the user; what cannot be known is asked for, not made up.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from knedit.checkpoints.folder import list_files, reach
from knedit.checkpoints.manifest import read_manifest
from knedit.errors import CheckpointError
from knedit.hub import cards
from knedit.hub.fetching import cached_name
from knedit.models.layout import Layout
from knedit.models.loading import layout_of

logger = logging.getLogger(__name__)

CARD = "README.md"
LICENCE_FILES = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|USE_POLICY)[^/]*", re.IGNORECASE)
PHRASES = (  # of licences' texts; the first whose words all occur is meant
    ("apache-2.0", ("Apache License", "Version 2.0")),
    ("gpl-3.0", ("GNU GENERAL PUBLIC LICENSE", "Version 3")),
    ("agpl-3.0", ("GNU AFFERO GENERAL PUBLIC LICENSE", "Version 3")),
    ("mpl-2.0", ("Mozilla Public License", "2.0")),
    ("bsd-3-clause", ("Redistribution and use in source and binary forms", "Neither the name")),
    ("bsd-2-clause", ("Redistribution and use in source and binary forms",)),
    ("mit", ("Permission is hereby granted, free of charge", "THE SOFTWARE IS PROVIDED")),
    ("cc0-1.0", ("CC0 1.0 Universal",)),
    ("cc-by-nc-4.0", ("Attribution-NonCommercial 4.0",)),
    ("cc-by-sa-4.0", ("Attribution-ShareAlike 4.0",)),
    ("cc-by-4.0", ("Attribution 4.0 International",)),
)
TAGS = ("knedit", "knowledge-editing", "model-editing")
UNLEARNING = "unlearning"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWishes:
    """What a user tells of the card; the rest is taken from the parent."""

    base_model: str | None = None
    licence: str | None = None
    licence_name: str | None = None
    licence_link: str | None = None
    languages: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise CheckpointError for a name, licence or language that the Hub does not know."""
        if self.base_model is not None:
            cards.check_repo_id(self.base_model)
        if self.licence is not None:
            cards.check_licence(self.licence)
        for language in self.languages:
            cards.check_language(language)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The front matter of the new card but its results, the parent's own card if it has one, and its licence files."""

    front: Mapping[str, Any]
    parent_card: bytes | None = None
    licence_files: tuple[str, ...] = ()

    def tagged(self, *tags: str) -> "CardFacts":
        return replace(self, front={**self.front, "tags": [*self.front["tags"], *tags]})


def gather_card_facts(parent: Path, wishes: CardWishes) -> CardFacts:
    """Return what the card of an edit of `parent` says; raise CheckpointError for what must be told and is not."""
    wishes.check()
    content = _card_bytes(parent)
    old = _front_of(content, parent, wishes)
    files = tuple(name for name in list_files(parent) if LICENCE_FILES.fullmatch(name))
    base = wishes.base_model or cached_name(parent) or _base_of_release(old, parent)
    if base is None:
        logger.warning("The parent's name on the Hub is not known, so the card names no base_model: tell --base-model")
    front = {
        "language": list(wishes.languages) or old.get("language"),
        **_licence(parent, old, wishes, files, base),
        "library_name": "transformers",
        "pipeline_tag": old.get("pipeline_tag") or _task(layout_of(parent)),
        "base_model": base,
        "base_model_relation": "finetune" if base else None,
        "tags": list(TAGS),
    }
    _check(front, parent)
    return CardFacts(front, content, files)


def _card_bytes(parent: Path) -> bytes | None:
    if not (parent / CARD).exists():
        return None
    path = reach(parent, CARD)
    if path.stat().st_size > 4 * cards.LARGEST:
        raise CheckpointError(f"The parent's {CARD} is too large for a model card", str(path))
    return path.read_bytes()


def _front_of(content: bytes | None, parent: Path, wishes: CardWishes) -> dict[str, Any]:
    if content is None:
        return {}
    try:
        return cards.read_front(content.decode("utf-8-sig", "replace"), str(parent / CARD))
    except CheckpointError as error:
        if wishes.licence is None:
            raise CheckpointError(error.what, error.where, "Mend it, or tell the licence: --license ID.") from error
        logger.warning("The parent's card is passed over: %s", error)
        return {}


def _base_of_release(old: Mapping[str, Any], parent: Path) -> str | None:
    """Return the base model that the card of an edited parent names: knedit's own, of which the new one is one, too."""
    manifest = read_manifest(parent)
    base = old.get("base_model")
    if manifest is None or CARD not in manifest.written:
        return None
    return base if isinstance(base, str) else None


def _licence(
    parent: Path, old: Mapping[str, Any], wishes: CardWishes, files: tuple[str, ...], base: str | None
) -> dict[str, Any]:
    if wishes.licence is not None:
        found = {"license": wishes.licence}
        return found | {"license_name": wishes.licence_name, "license_link": wishes.licence_link}
    if licence := old.get("license"):
        _tell_no_derivatives(licence)
        link = wishes.licence_link or _whole_link(parent, old.get("license_link"), base)
        name = wishes.licence_name or old.get("license_name")
        return {"license": licence, "license_name": name, "license_link": link}
    for name in files:
        if licence := _recognised(reach(parent, name)):
            logger.info("The licence %s was read off the parent's %s", licence, name)
            return {"license": licence, "license_name": None, "license_link": None}
    raise CheckpointError(
        "The parent's licence is not known: it has no card that names one, and no licence file that knedit recognises",
        str(parent),
        f"Look it up and tell it: --license apache-2.0 (or another that the Hub knows; --license {cards.UNKNOWN}).",
    )


def _tell_no_derivatives(licence: str | list[str]) -> None:
    for one in [licence] if isinstance(licence, str) else licence:
        if "-nd-" in one:
            logger.warning("The parent's licence %s does not allow that changed works are passed on", one)


def _whole_link(parent: Path, link: str | None, base: str | None) -> str | None:
    """Return a licence's link so that it leads somewhere from the new folder, too."""
    if link is None or "://" in link or (parent / link).is_file() or base is None:
        return link
    return f"https://huggingface.co/{base}/blob/main/{link}"


def _recognised(path: Path) -> str | None:
    with path.open(encoding="utf-8", errors="replace") as stream:
        text = " ".join(stream.read(100_000).split())
    return next((name for name, words in PHRASES if all(word in text for word in words)), None)


def _task(layout: Layout) -> str:
    if layout.family.encoder_decoder:
        return "text2text-generation"
    return "fill-mask" if layout.family.masked else "text-generation"


def _check(front: Mapping[str, Any], parent: Path) -> None:
    """Raise CheckpointError where what the parent's card says would make the new one unsound."""
    trial = cards.trial_problems({name: value for name, value in front.items() if value is not None})
    if trial:
        cure = "Tell it: --license, --license-name, --license-link, --language or --base-model."
        raise CheckpointError(f"The parent's card cannot be taken over: {'; '.join(trial)}", str(parent / CARD), cure)
