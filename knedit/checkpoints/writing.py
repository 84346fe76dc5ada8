"""A new file, written block by block and on the disk when it is closed.

Knows nothing of what is in it. A long file goes past the page cache (O_DIRECT) where the file system lets it: the
kernel copies nothing, what other programs have in memory stays there, and nothing is left to be waited for at the end.
"""

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE = 4096
LONG = 64 << 20  # bytes; shorter files are read again before long, and cost little
FLUSH = 32 << 20  # bytes after which the disk is asked to begin


class NewFile:
    """A file that did not exist. Leaving it without an error waits until its bytes are on the disk."""

    def __init__(self, path: Path, size: int) -> None:
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._direct = _open_direct(path) if size >= LONG else -1
        self._since = 0

    def write(self, offset: int, view: memoryview) -> None:
        """Write `view` at `offset`, quickest if both begin at pages. Raises OSError."""
        while view:
            count = self._write_direct(offset, view) or self._write_plainly(offset, view)
            view, offset = view[count:], offset + count

    def _write_direct(self, offset: int, view: memoryview) -> int:
        whole = len(view) // PAGE * PAGE
        if self._direct < 0 or offset % PAGE or not whole:
            return 0
        try:
            return os.pwrite(self._direct, view[:whole], offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return 0  # its blocks are larger than pages

    def _write_plainly(self, offset: int, view: memoryview) -> int:
        count = os.pwrite(self.handle, view, offset)
        self._since += count
        if self._since >= FLUSH:
            self._since = 0
            os.posix_fadvise(self.handle, 0, offset + count, os.POSIX_FADV_DONTNEED)  # the disk may begin with them
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                os.fsync(self.handle)
        finally:
            os.close(self.handle)
            if self._direct >= 0:
                os.close(self._direct)


def _open_direct(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1  # a file system that cannot do without its cache
