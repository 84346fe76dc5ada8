"""A file copied with new slices laid over it on the way, and the sha256 of both told, in one pass.

Knows nothing of checkpoints. The kernel shares what it can: where the file system clones (FICLONE: btrfs, XFS and
others) only changed bytes are written. A file that exists is never opened to be written or cut, so no process that has
one mapped sees it change.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from knedit.checkpoints.slices import Slices, Tile, read_into, tiles, write_all

FICLONE = 0x40049409
BLOCK = 2 << 20  # bytes of a file that are handed on together
BUFFERS = 3
FLUSH = 32 << 20  # bytes after which the disk is asked to begin
WORKERS = 2
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


@dataclass(frozen=True, slots=True)
class Copied:
    """The sha256 of a file and of its copy, and how many bytes were written: none where the two share them."""

    source: str
    target: str
    written: int


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
        whole = copy.known or _stream(copy, -1, stop, clone=True).source
        return Copied(whole, whole, 0)
    if copy.target is None:
        return _stream(copy, -1, stop, clone=True)
    handle = os.open(copy.target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with copy.source.open("rb") as stream:
            cloned = _clone(stream.fileno(), handle)
        copied = _stream(copy, handle, stop, clone=cloned)
        os.fsync(handle)
    finally:
        os.close(handle)
    return copied


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


def _stream(copy: Copy, handle: int, stop: Event, *, clone: bool) -> Copied:
    """Read the source once; write all of it, or its new slices alone where the target is a `clone`."""
    digests, written = _Digests(copy.known), 0
    buffers = [memoryview(bytearray(BLOCK)) for _ in range(BUFFERS)]
    hashed: list[Future[None]] = []
    with copy.source.open("rb", buffering=0) as stream, ThreadPoolExecutor(1) as hasher:
        size = os.fstat(stream.fileno()).st_size
        for number, (tile, slices) in enumerate(_tiled(size, copy.slices)):
            if stop.is_set():
                raise _StoppedError
            if number >= BUFFERS:
                hashed[number - BUFFERS].result()  # then its buffer is free
            view = buffers[number % BUFFERS][: tile.end - tile.begin]
            read_into(stream.fileno(), tile.begin, view)
            original = bytes(view) if slices and not copy.known else None
            if slices:
                slices.lay_over(tile, view)
            hashed.append(hasher.submit(digests.take, view, original))
            if handle >= 0 and not (clone and slices is None):
                write_all(handle, tile.begin, view)
                written += len(view)
                if written // FLUSH > (written - len(view)) // FLUSH:
                    os.posix_fadvise(handle, 0, tile.end, os.POSIX_FADV_DONTNEED)  # the disk may begin with them
    source, target = digests.tell()
    if source != target and not copy.slices:
        raise OSError(errno.EIO, "the file changed while it was copied", str(copy.source))
    return Copied(source, target, written)


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


def _tiled(size: int, slices: Sequence[Slices]) -> Iterator[tuple[Tile, Slices | None]]:
    """Yield tiles that cover a file of `size` bytes in order, each with the slices that it holds a part of."""
    at = 0
    for one in sorted(slices, key=lambda one: one.matrix.begin):
        assert at <= one.matrix.begin, "these slices overlap"
        yield from _plain(at, one.matrix.begin)
        for tile in tiles(one.matrix, BLOCK):
            yield tile, one if one.meets(tile) else None
        at = one.matrix.end
    yield from _plain(at, size)


def _plain(begin: int, end: int) -> Iterator[tuple[Tile, None]]:
    for at in range(begin, end, BLOCK):
        yield Tile(at, min(end, at + BLOCK), 0, 0), None
