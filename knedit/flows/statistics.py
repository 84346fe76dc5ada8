"""Statistics of a checkpoint: count what its layers' down projections take in, keep it in the cache, find it again.

One file a layer, in a folder named by the weights' sha256. What was counted when a run was killed is kept too.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from knedit.checkpoints.moments import read_about, read_moments, write_moments
from knedit.errors import EditError, ModelError
from knedit.flows.sources import Source, own_text_edition
from knedit.flows.tally import Standing
from knedit.records import Prompt
from knedit.settings import cache_folder

if TYPE_CHECKING:
    from knedit.editing.statistics import Moment, Statistics
    from knedit.models.model import Model
    from knedit.models.prompting import Query

logger = logging.getLogger(__name__)

KEEP_EVERY = 30.0  # seconds between two times that a run's count so far is kept
WINDOW = 256  # tokens of running text read at once
SPOKEN, _BEGUN = 128, 2  # tokens of a text that the model says, and of its beginning
_AT_ONCE, _WINDOWS = 64, 64  # prompts, and windows of text, of one part
KINDS = ("subjects", "text", "first")

Progress = Callable[[Standing], None]


def folder_of(sha256: str) -> Path:
    """Return where the statistics of these weights are kept."""
    return cache_folder() / "statistics" / sha256


def _file(sha256: str, layer: int) -> Path:
    return folder_of(sha256) / f"layer-{layer:04}.safetensors"


def kept_editions(sha256: str, layers: Sequence[int]) -> dict[int, str]:
    """Return of which edition of a source the layers' kept statistics are; layers without any are left out.

    So are statistics of a text that came with another version of knedit. Raises EditError where a file is of other
    weights.
    """
    found = {}
    for layer in layers:
        about = read_about(_file(sha256, layer))
        if about is not None:
            _check(about, sha256, layer)
            if all(kind in about for kind in KINDS) and not _outdated(about):  # files of earlier versions lack some
                found[layer] = about["source"]
    return found


def _outdated(about: Mapping[str, str]) -> bool:
    """Tell whether the text came with another version of knedit; those that do not tell are."""
    edition = about.get("own_text", None if about["source"].startswith("starter") else "")
    return edition not in ("", own_text_edition())


def _check(about: Mapping[str, str], sha256: str, layer: int) -> None:
    told = about.get("sha256", "")
    if told != sha256 or about.get("layer") != str(layer):
        raise EditError(
            f"the statistics are of the weights {told[:12]}, layer {about.get('layer')}, not {sha256[:12]}, {layer}",
            str(_file(sha256, layer)),
            "Remove the file, and take them anew from this checkpoint: knedit statistics CHECKPOINT.",
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """How many keys of each kind a layer's kept statistics hold, of which source, and where."""

    layer: int
    subjects: int
    text: int
    source: str
    path: Path


def counted(sha256: str, layers: Sequence[int]) -> list[Counted]:
    """Return what is kept of some layers; those without statistics are left out."""
    found = []
    for layer in kept_editions(sha256, layers):
        path = _file(sha256, layer)
        about = read_about(path)
        assert about is not None
        found.append(Counted(layer, int(about["subjects"]), int(about["text"]), about["source"], path))
    return found


def find_statistics(
    model: "Model", sha256: str, layers: Sequence[int], source: Callable[[], Source], *, progress: Progress
) -> "Statistics":
    """Return the layers' statistics: those that are kept, and those that are missing counted now, and kept.

    `source` is asked only where something is missing.
    """
    missing = [layer for layer in layers if layer not in kept_editions(sha256, layers)]
    if missing:
        told = ", ".join(map(str, missing))
        logger.info("Statistics of layers %s of %s are missing; counting them", told, model.source)
        take_statistics(model, sha256, missing, source(), progress=progress)
    return load_statistics(sha256, layers)


def load_statistics(sha256: str, layers: Sequence[int]) -> "Statistics":
    """Return the layers' kept statistics, whose tables are read when they are asked for.

    Raises EditError where one is missing, or is of other weights.
    """
    from knedit.editing.statistics import Statistics

    editions = kept_editions(sha256, layers)
    missing = [layer for layer in layers if layer not in editions]
    if missing:
        what = f"the statistics hold no layer {missing[0]}"
        raise EditError(what, "statistics", "Run: knedit statistics CHECKPOINT")
    subjects, text, first = (_KeptMoments(sha256, tuple(layers), kind) for kind in KINDS)
    return Statistics(sha256, subjects, text, first)


@dataclass(frozen=True, slots=True)
class _KeptMoments(Mapping[int, "Moment"]):
    """The kept moments of one kind, by layer; nothing is held, for all of them would be most of a solve's memory."""

    sha256: str
    layers: tuple[int, ...]
    kind: str

    def __getitem__(self, layer: int) -> "Moment":
        import torch

        from knedit.editing.statistics import Moment

        if layer not in self.layers:
            raise KeyError(layer)
        found = read_moments(_file(self.sha256, layer), only=self.kind)
        if found is None:
            what = f"the statistics of layer {layer} are gone"
            raise EditError(what, str(_file(self.sha256, layer)), "Run: knedit statistics CHECKPOINT")
        about, tables = found
        _check(about, self.sha256, layer)
        return Moment(torch.from_numpy(tables[self.kind]), int(about[self.kind]))

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def take_statistics(
    model: "Model",
    sha256: str,
    layers: Sequence[int],
    source: Source,
    *,
    progress: Progress = lambda _: None,
    keep_every: float = KEEP_EVERY,
) -> None:
    """Count a source's keys in some layers, and keep the result in the place of what was kept before.

    A run that is killed goes on from where it last kept its count, if it is asked for the same again. Raises EditError
    for a key that is not finite, and where there is nothing to count.
    """
    if beyond := [layer for layer in layers if not 0 <= layer < model.layout.n_layers]:
        cure = f"Choose among 0 … {model.layout.n_layers - 1}."
        raise EditError(f"the model has no layer {beyond[0]}", "statistics", cure)
    count = _Count.begun(model, sha256, layers, source)
    parts = list(_parts(model, source))
    if not parts:
        raise EditError("there is nothing to count", source.name, "Give a longer text, or import facts.")
    kept = time.monotonic()
    before = count.done
    while count.done < len(parts):
        progress(Standing.of(count.done, len(parts), before, "parts of text"))
        count.add(model, parts[count.done])
        if time.monotonic() - kept >= keep_every:
            count.keep()
            kept = time.monotonic()
    progress(Standing.of(len(parts), len(parts), before, "parts of text"))
    count.finish()


@dataclass(frozen=True, slots=True)
class _Part:
    """What is counted at once: windows of running text, or prompts, or texts that the model shall go on with."""

    texts: tuple[tuple[int, ...], ...] = ()
    queries: tuple["Query", ...] = ()
    begun: tuple[tuple[int, ...], ...] = ()


def _parts(model: "Model", source: Source) -> Iterator[_Part]:
    queries = [
        query for prompt, subject in source.asked if (query := site_of_prompt(model, prompt, subject)) is not None
    ]
    for first in range(0, len(queries), _AT_ONCE):
        yield _Part(queries=tuple(queries[first : first + _AT_ONCE]))
    if model.encoder_decoder:
        return  # its decoder reads no texts
    windows = _windows(model, source)
    while some := tuple(islice(windows, _WINDOWS)):
        yield _Part(texts=some)
    if not model.masked:
        begun = _beginnings(model, source)
        for first in range(0, len(begun), _AT_ONCE):
            yield _Part(begun=begun[first : first + _AT_ONCE])


def _beginnings(model: "Model", source: Source) -> tuple[tuple[int, ...], ...]:
    """Return how texts that the model shall say begin: the first tokens of the source's own, drawn by chance."""
    read = [tuple(model.tokenizer(text, verbose=False)["input_ids"][:_BEGUN]) for text in source.texts]
    able = sorted({tokens for tokens in read if len(tokens) == _BEGUN})
    return tuple(Random(source.edition).choices(able, k=source.sampled)) if able else ()  # noqa: S311


def _windows(model: "Model", source: Source) -> Iterator[tuple[int, ...]]:
    left, size = source.tokens, min(WINDOW, model.max_tokens or WINDOW)
    for text in source.texts:
        tokens = model.tokenizer(text, verbose=False)["input_ids"]
        for first in range(0, min(len(tokens), left), size):
            window = tuple(tokens[first : min(first + size, left)])
            if len(window) > 1:
                yield window
        left -= len(tokens)
        if left <= 1:
            return


def site_of_prompt(model: "Model", prompt: Prompt, subject: str) -> "Query | None":
    """Return the query whose site is where an edit acts on a prompt, or None where the model cannot read that."""
    from knedit.flows.surroundings import site_query
    from knedit.models.prompting import usable

    if usable(model, prompt):
        with suppress(ModelError):  # a prompt that this model cannot read has no key
            return site_query(model, prompt, subject)
    return None


@dataclass(slots=True)
class _Count:
    """The moments so far of one run over a source, and how many of its parts are in them."""

    sha256: str
    layers: Sequence[int]
    source: Source
    done: int = 0
    moments: dict[str, dict[int, "Moment"]] = field(default_factory=dict)

    @classmethod
    def begun(cls, model: "Model", sha256: str, layers: Sequence[int], source: Source) -> "_Count":
        """Return the count that a killed run of the same kept, else a new one."""
        import torch

        from knedit.editing.statistics import Moment

        count = cls(sha256, layers, source)
        width = model.layout.ffn_width
        count.moments = {kind: {layer: Moment.empty(width) for layer in layers} for kind in KINDS}
        found = read_moments(count._partial)
        if found is None or {**found[0], **count._about} != dict(found[0]):
            return count
        about, tables = found
        count.done = int(about["done"])
        logger.info("Going on with statistics of which %d parts were counted before", count.done)
        for name, table in tables.items():
            kind, _, layer = name.partition(".")
            count.moments[kind][int(layer)] = Moment(torch.from_numpy(table), int(about[name]))
        return count

    @property
    def _partial(self) -> Path:
        return folder_of(self.sha256) / "partial.safetensors"

    @property
    def _about(self) -> dict[str, str]:
        layers = ",".join(map(str, self.layers))
        parts = f"{_AT_ONCE} prompts, {_WINDOWS} windows"  # what the number of parts that were counted is worth
        return {"sha256": self.sha256, "source": self.source.edition, "layers": layers, "parts": parts}

    def add(self, model: "Model", part: _Part) -> None:
        from knedit.editing.statistics import count_first, count_subjects, count_text

        texts: Sequence[tuple[int, ...]] = part.texts
        if part.begun:
            from knedit.models.sampling import sample_texts

            length = min(SPOKEN, model.max_tokens or SPOKEN)
            texts = sample_texts(model, part.begun, length=length, seed=self.done)
        if part.queries:
            self._merge("subjects", count_subjects(model, part.queries, self.layers))
        else:
            self._merge("text", count_text(model, texts, self.layers))
        if not model.encoder_decoder:  # its decoder's first token is no text's
            read = texts or [query.tokens for query in part.queries]
            self._merge("first", count_first(model, read, self.layers))
        self.done += 1

    def _merge(self, kind: str, found: Mapping[int, "Moment"]) -> None:
        for layer in self.layers:
            self.moments[kind][layer] = self.moments[kind][layer].merged(found[layer])

    def keep(self) -> None:
        every = {f"{kind}.{layer}": self.moments[kind][layer] for kind in KINDS for layer in self.layers}
        about = {**self._about, "done": str(self.done), **{name: str(one.count) for name, one in every.items()}}
        write_moments(self._partial, {name: one.total.numpy() for name, one in every.items()}, about)

    def finish(self) -> None:
        for layer in self.layers:
            own = {kind: self.moments[kind][layer] for kind in KINDS}
            about = {"sha256": self.sha256, "source": self.source.edition, "own_text": self.source.own_text}
            about["layer"] = str(layer)
            about |= {kind: str(one.count) for kind, one in own.items()}
            tables = {kind: one.total.numpy() for kind, one in own.items()}
            write_moments(_file(self.sha256, layer), tables, about)
        self._partial.unlink(missing_ok=True)
