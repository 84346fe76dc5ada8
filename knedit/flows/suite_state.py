"""The records of a suite that are finished, in a file of JSON lines that a killed run goes on from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from knedit.errors import EditError


@dataclass(frozen=True, slots=True)
class SuiteRecord:
    """How one record went. `failure` says why it has no edit; it is measured all the same, as the model stands.

    `columns` counts the value vectors changed with it, by layer; `before` and `after` are figures by name; `rounded`
    the same after each rounding of the weights; `texts` what was written, before and after, by wording; `prompts` the
    exact wordings asked, by group. A record that the model cannot be asked has no figures.
    """

    key: str
    relation: str
    subject: str
    prompt: str
    true: str
    new: str
    failure: str | None = None
    columns: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    rounded: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)


class State:
    """Finished records by key, kept in a file if one is named: its first line is the run's configuration."""

    def __init__(self, path: Path | None, configuration: Mapping[str, Any]) -> None:
        self.done: dict[str, SuiteRecord] = {}
        self._path = path
        if path is None:
            return
        try:
            if path.exists() and path.stat().st_size:
                self._read(path, configuration)
            else:
                self._append({"configuration": configuration})
        except OSError as error:
            raise EditError(
                f"the state cannot be kept: {error.strerror or error}", str(path), "Name another file with --state."
            ) from None

    def add(self, record: SuiteRecord) -> None:
        """Keep a finished record."""
        self.done[record.key] = record
        if self._path is not None:
            self._append(asdict(record))

    def _append(self, value: Mapping[str, Any]) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")

    def _read(self, path: Path, configuration: Mapping[str, Any]) -> None:
        """Take the whole lines; what a killed run left of its last one is cut off."""
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()]
            told = first["configuration"]
            self.done = {line["key"]: SuiteRecord(**line) for line in lines}
        except (ValueError, KeyError, TypeError):
            raise EditError(
                "the file is no state of a suite", str(path), "Name another file with --state, or remove it."
            ) from None
        if told != json.loads(json.dumps(configuration)):
            differing = sorted(key for key in {*told, *configuration} if told.get(key) != configuration.get(key))
            raise EditError(
                f"the state is another run's: {', '.join(differing)} differ",
                str(path),
                "Repeat that run's options, or name another file with --state.",
            )
        if len(whole) < len(text):
            with path.open("r+b") as file:
                file.truncate(len(whole))
