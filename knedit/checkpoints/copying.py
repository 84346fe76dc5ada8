"""A file copied with new slices laid over it on the way, and the sha256 of both told, in one pass.

Knows nothing of checkpoints. The kernel shares what it can: where the file system clones (FICLONE: btrfs, XFS and
others) only changed bytes are written. A file that exists is never opened to be written or cut, so no process that has
one mapped sees it change.
"""

import errno
import fcntl
import hashlib
import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from knedit.checkpoints.fingerprint import WORKERS
from knedit.checkpoints.slices import Slices, read_into
from knedit.checkpoints.writing import PAGE, NewFile

FICLONE = 0x40049409
BLOCK = 2 << 20  # bytes of a file that are handed on together, whole pages
BUFFERS = 4
MARGIN = 8  # bytes read on either side of a block, so that numbers on its edges are whole
UNSHARED = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOTTY, errno.EINVAL, errno.EACCES)


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """One file to be copied: its new slices, none of which may overlap; `known` is its sha256 if it was just taken.

    Without a `target` nothing is written. With `link` a file without new slices becomes a second name of the first.
    """

    source: Path
    target: Path | None
    slices: tuple[Slices, ...] = ()
    link: bool = False
    known: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Copied:
    """The sha256 of a file and of its copy, and how many bytes were written: none where the two share them.

    `differing` tells of each of the copy's `slices`, in their order, which of them the file held otherwise.
    """

    source: str
    target: str
    written: int
    differing: tuple[NDArray[np.bool_], ...] = ()


class _StoppedError(Exception):
    """Another file failed, so this one need not be finished."""


def copy_files(copies: Sequence[Copy]) -> list[Copied]:
    """Carry out the copies, a few at a time, and return what came of each. Raises OSError.

    The copies are on the disk afterwards, their folders' entries perhaps not yet.
    """
    stop = Event()
    largest = sorted(range(len(copies)), key=lambda number: -copies[number].source.stat().st_size)
    with ThreadPoolExecutor(WORKERS) as pool:
        running = {number: pool.submit(_copy, copies[number], stop) for number in largest}
        try:
            for number in largest:
                running[number].result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [running[number].result() for number in range(len(copies))]


def can_clone(source: Path, folder: Path) -> bool:
    """Tell whether files in `folder` can share the bytes of `source` until one of them is changed."""
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR)
    except OSError:
        return False
    try:
        with source.open("rb") as stream:
            return _clone(stream.fileno(), handle)
    finally:
        os.close(handle)


def can_link(source: Path, folder: Path) -> bool:
    """Tell whether a file in `folder` may be another name of `source`, as far as can be told without trying."""
    return source.stat().st_dev == folder.stat().st_dev


def _copy(copy: Copy, stop: Event) -> Copied:
    if copy.link and not copy.slices and copy.target and _link(copy.source, copy.target):
        whole = copy.known or _read(copy, stop).source
        return Copied(whole, whole, 0)
    if copy.target is None:
        return _read(copy, stop)
    with copy.source.open("rb", buffering=0) as stream, NewFile(copy.target, _length(stream)) as target:
        cloned = _clone(stream.fileno(), target.handle)
        return _Passage(copy, stream.fileno(), target, stop, every=not cloned).go()


def _length(stream: FileIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _read(copy: Copy, stop: Event) -> Copied:
    with copy.source.open("rb", buffering=0) as stream:
        return _Passage(copy, stream.fileno(), None, stop, every=False).go()


def _link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in UNSHARED:
            raise
        return False
    return True


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in UNSHARED:
            raise
        return False
    return True


class _Buffer:
    """Room for a block, which begins at a page as writing past the page cache asks for, and for its margins."""

    def __init__(self) -> None:
        self._view = memoryview(mmap.mmap(-1, PAGE + BLOCK + PAGE))
        self.hashed: Future[None] | None = None  # then the room is free

    def read(self, handle: int, begin: int, end: int, size: int) -> None:
        low, high = max(0, begin - MARGIN), min(size, end + MARGIN)
        read_into(handle, low, self.part(begin, low, high))

    def part(self, begin: int, low: int, high: int) -> memoryview:
        """Return the file's bytes `low` to `high`, where the block begins at its byte `begin`."""
        return self._view[PAGE + low - begin : PAGE + high - begin]


class _Passage:
    """One file on its way: read once, changed, hashed by a second thread, and written, or its changed blocks alone."""

    def __init__(self, copy: Copy, source: int, target: NewFile | None, stop: Event, *, every: bool) -> None:
        self._copy, self._source, self._target, self._stop, self._every = copy, source, target, stop, every
        self._size = os.fstat(source).st_size
        self._digests = _Digests(copy.known)
        order = sorted(range(len(copy.slices)), key=lambda number: copy.slices[number].matrix.begin)
        self._slices = [copy.slices[number] for number in order]
        self._differing = [np.zeros(len(one.indices), dtype=np.bool_) for one in copy.slices]
        self._noted = [self._differing[number] for number in order]
        self._begins = [one.matrix.begin for one in self._slices]
        self._ends = [one.matrix.end for one in self._slices]
        assert all(end <= begin for end, begin in zip(self._ends, self._begins[1:], strict=False)), "slices overlap"

    def go(self) -> Copied:
        buffers = [_Buffer() for _ in range(min(BUFFERS, -(-self._size // BLOCK)))]
        written = 0
        with ThreadPoolExecutor(1) as hasher:
            for number, begin in enumerate(range(0, self._size, BLOCK)):
                if self._stop.is_set():
                    raise _StoppedError
                buffer = buffers[number % BUFFERS]
                if buffer.hashed:
                    buffer.hashed.result()
                written += self._hand_on(buffer, begin, min(self._size, begin + BLOCK), hasher)
        source, target = self._digests.tell()
        if source != target and not self._slices:
            raise OSError(errno.EIO, "the file changed while it was copied", str(self._copy.source))
        return Copied(source, target, written, tuple(self._differing))

    def _hand_on(self, buffer: _Buffer, begin: int, end: int, hasher: ThreadPoolExecutor) -> int:
        buffer.read(self._source, begin, end, self._size)
        block = buffer.part(begin, begin, end)
        near = range(bisect_right(self._ends, begin), bisect_left(self._begins, end))
        meeting = [number for number in near if self._slices[number].meets(begin, end)]
        original = bytes(block) if meeting and not self._copy.known else None
        for number in meeting:
            one = self._slices[number]
            low, high = one.matrix.window(begin, end)
            one.lay_over(low, buffer.part(begin, low, high), self._noted[number])
        buffer.hashed = hasher.submit(self._digests.take, block, original)
        if self._target is None or not (self._every or meeting):
            return 0
        self._target.write(begin, block)
        return end - begin


class _Digests:
    """The sha256 of a file as it was and as it becomes; up to the first change the two are one."""

    def __init__(self, known: str | None) -> None:
        self._known = known
        self._after = hashlib.sha256()
        self._before = self._after

    def take(self, view: memoryview, original: bytes | None) -> None:
        """Take in the next bytes as they become, and as they were if they change and that is not known."""
        if original is not None and self._before is self._after:
            self._before = self._after.copy()
        if self._before is not self._after:
            self._before.update(view if original is None else original)
        self._after.update(view)

    def tell(self) -> tuple[str, str]:
        return self._known or self._before.hexdigest(), self._after.hexdigest()
