"""Files that nobody vouches for, read a record at a time: JSON lines, and the parts of one JSON list or object.

At most one record is held, of at most LONGEST bytes or characters. A record that is not as it should be goes to a
`fault` function, which raises it or keeps it, and reading goes on. Knows nothing of the formats.
"""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from knedit.catalog.formats.values import BrokenError
from knedit.errors import FactsError
from knedit.records import Fact, Relation

LONGEST = 8 * 2**20
CHUNK = 2**16
BOM = b"\xef\xbb\xbf"
ONE_A_LINE = "Write one JSON object a line, each with its relation."
WHOLE = "The file is damaged or of another format: fetch it again."

Fault = Callable[[FactsError], None]
T = TypeVar("T")


T_co = TypeVar("T_co", covariant=True)


def stop(error: FactsError) -> None:
    """Raise the fault of a record: nothing of its file is taken."""
    raise error


class Reader(Protocol[T_co]):
    """Yield the records of a path, each before what hangs on it; hand a broken one to `fault`."""

    def __call__(self, path: Path, fault: Fault = ...) -> Iterator[T_co]: ...


def reader(read: Callable[[Path, Fault], Iterator[T]]) -> Reader[T]:
    """Let a reader raise FactsError where its file cannot be read, and where it holds no record and no fault."""

    @wraps(read)
    def checked(path: Path, fault: Fault = stop) -> Iterator[T]:
        told = False

        def tell(error: FactsError) -> None:
            nonlocal told
            told = True
            fault(error)

        try:
            for record in read(path, tell):
                told = True
                yield record
        except OSError as error:
            what = f"The file cannot be read: {error.strerror or error}"
            raise FactsError(what, str(path), "Check its name and rights.") from None
        if not told:
            raise FactsError("The file holds no record", str(path), ONE_A_LINE)

    return checked


def each(things: Iterable[tuple[str, Any]], make: Callable[[Any], Iterable[T]], fault: Fault) -> Iterator[T]:
    """Yield what `make` gives for each thing, its place and value; where `make` raises BrokenError, that is a fault.

    `make` checks everything before it returns, and may then give its records one by one.
    """
    for where, value in things:
        try:
            made = make(value)
        except BrokenError as broken:
            error = FactsError(broken.what, where, broken.cure)
        else:
            yield from made
            continue
        fault(error)


def unrepeated(records: Iterable[T]) -> Iterator[T]:
    """Leave out a relation or fact that is the last one again, as where every line tells both anew."""
    last: dict[type, T] = {}
    for record in records:
        if isinstance(record, Relation | Fact) and last.get(type(record)) == record:
            continue
        last[type(record)] = record
        yield record


def lines(path: Path, fault: Fault) -> Iterator[tuple[int, bytes]]:
    """Yield each line's number and bytes, without a byte order mark; a line over LONGEST is a fault and passed over."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > LONGEST:
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST)
                fault(FactsError(f"The line is longer than {LONGEST:,} bytes", where, "Break it into several records."))
                continue
            yield number, line.removeprefix(BOM) if number == 1 else line


def json_lines(path: Path, fault: Fault) -> Iterator[tuple[str, Any]]:
    """Yield each line's place and JSON value; empty lines are passed over."""
    full = ((f"{path}, line {number}", line) for number, line in lines(path, fault) if line.strip())
    for where, line in full:
        yield from ((where, value) for value in each([(where, line)], lambda line: [parse(line)], fault))


def parse(line: bytes) -> Any:
    """Return a line's JSON value; a key that stands twice in an object, and NaN, are refused."""
    twice: list[str] = []
    try:
        value = json.loads(line.decode(), object_pairs_hook=_pairs(twice), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise BrokenError(f"Byte {error.start + 1} of the line is not UTF-8", "Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise BrokenError(f"The line is not JSON: {error.msg} at character {error.pos + 1}", ONE_A_LINE) from None
    except (ValueError, RecursionError):
        raise BrokenError("The line is not JSON that can be read", ONE_A_LINE) from None
    if twice:
        raise _stands_twice(twice)
    return value


def elements(path: Path, fault: Fault) -> Iterator[tuple[str, Any]]:
    """Yield the place and value of each element of the JSON list that a file is."""
    return ((where, value) for where, (_, value) in numbered_elements(path, fault))


def numbered_elements(path: Path, fault: Fault) -> Iterator[tuple[str, tuple[int, Any]]]:
    """Yield the place, the number from 0, and the value of each element; a broken one has its number too."""
    return _parts(path, fault, "[]")


def entries(path: Path, fault: Fault) -> Iterator[tuple[str, Any]]:
    """Yield the place, and as one value the pair of key and value, of each entry of the JSON object that a file is."""
    return ((where, value) for where, (_, value) in _parts(path, fault, "{}"))


def opening(path: Path) -> str:
    """Return the first character of a JSON file, "" where there is none or it is not UTF-8."""
    with path.open("rb") as file:
        start = file.read(CHUNK).removeprefix(BOM).lstrip()[:1]
    return start.decode("ascii", errors="ignore")


def _pairs(twice: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        known = dict(pairs)
        if len(known) < len(pairs):
            seen: set[str] = set()
            twice.extend(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return known

    return made


def _stands_twice(twice: list[str]) -> BrokenError:
    return BrokenError(f'The key "{min(twice)}" stands twice in one object', "Keep one of the two.")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _parts(path: Path, fault: Fault, brackets: str) -> Iterator[tuple[str, tuple[int, Any]]]:
    """Yield the parts up to the first place that is not JSON, which is a fault, for nobody knows where it ends."""
    with path.open("rb") as file:
        scan = _Scan(file)
        try:
            number = -1
            more = scan.take(brackets[0]) and not scan.take_if(brackets[1])
            while more:
                number += 1
                twice: list[str] = []
                key = scan.key() if brackets == "{}" else None
                where = f"{path}, line {scan.line_of_next()}"
                value = scan.value(twice)
                if twice:
                    broken = _stands_twice(twice)
                    fault(FactsError(broken.what, where, broken.cure))
                else:
                    yield where, (number, value if key is None else (key, value))
                more = scan.take_if(",") or not scan.take(brackets[1])
            if scan.next():
                raise BrokenError("Something follows the end of the JSON", WHOLE)
            return
        except BrokenError as broken:
            error = FactsError(broken.what, f"{path}, line {scan.line}", broken.cure)
        fault(error)


class _Scan:
    """A JSON text read in chunks: what is not yet used of it, and the line where that begins."""

    def __init__(self, file: BinaryIO) -> None:
        self.line = 1
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._ended = False

    def next(self) -> str:
        """Return the next character that is not blank, "" at the end."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in " \t\r\n":
                at += 1
            self._go(at)
            if at < len(self._text):
                return self._text[at]
            if not self._more():
                return ""

    def line_of_next(self) -> int:
        self.next()
        return self.line

    def take_if(self, sign: str) -> bool:
        if self.next() != sign:
            return False
        self._go(self._at + 1)
        return True

    def take(self, sign: str) -> bool:
        if not self.take_if(sign):
            found = self.next()
            raise BrokenError(f"There is {found!a} where {sign!a} is due" if found else "The JSON breaks off", WHOLE)
        return True

    def key(self) -> str:
        if self.next() != '"':
            raise BrokenError("There is no key in quotes where one is due", WHOLE)
        key = str(self.value([]))
        self.take(":")
        return key

    def value(self, twice: list[str]) -> Any:
        """Return the next value; put the keys into `twice` that stand twice in one of its objects."""
        self.next()
        while True:
            twice.clear()
            decoder = json.JSONDecoder(object_pairs_hook=_pairs(twice), parse_constant=_refuse)
            try:
                value, end = decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number may go on in the next chunk
                    self._go(end)
                    return value
            except json.JSONDecodeError as error:
                if not self._more():
                    self._go(min(error.pos, len(self._text)))
                    raise BrokenError(f"This is not JSON: {error.msg}", WHOLE) from None
            except (ValueError, RecursionError):
                raise BrokenError("This is not JSON that can be read", WHOLE) from None

    def _go(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Read as much again as is held, so that a long value is not parsed too often; return False at the end."""
        held = len(self._text) - self._at
        if held > LONGEST:
            raise BrokenError(f"A record is longer than {LONGEST:,} characters", "Break it into several.")
        while not self._ended:
            chunk = self._file.read(max(CHUNK, held))
            self._ended = not chunk
            try:
                added = self._decoder.decode(chunk, final=self._ended)
            except UnicodeDecodeError:
                self._ended = True
                raise BrokenError("The file is not UTF-8", "Save it as UTF-8.") from None
            self._text, self._at = self._text[self._at :] + added, 0
            if added:
                return True
        return False
