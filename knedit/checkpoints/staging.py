"""A folder that appears under its name whole or not at all, whatever happens while it is written.

Knows nothing of checkpoints. It is written beside its place as `.NAME.knedit-partial`, under the lock file
`.NAME.knedit-lock`: a killed writer's leavings go at the next run, a living writer is never disturbed. Needs flock.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knedit.errors import CheckpointError


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `output` when the body ends, and is removed when the body raises.

    The body syncs the files it writes; folders are synced here. Raises CheckpointError when `output` exists or
    another process writes it, OSError when the folder cannot be made.
    """
    partial = output.with_name(f".{output.name}.knedit-partial")
    with locked(output.with_name(f".{output.name}.knedit-lock")):
        refuse_existing(output)
        try:
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir()
            yield partial
            for root, _, _ in os.walk(partial):
                sync_folder(Path(root))
            partial.rename(output)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(output.parent)


def refuse_existing(output: Path) -> None:
    """Raise CheckpointError if anything, also a dangling symlink, is at `output`."""
    if os.path.lexists(output):
        raise CheckpointError("The output folder exists", str(output), "Choose another one, or remove it first.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, and remove it afterwards. Raises CheckpointError when another process holds it."""
    handle = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def explained(output: Path, needed: int) -> Iterator[None]:
    """Turn an OSError of the body, which writes `needed` bytes to `output`, into a CheckpointError that tells why."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or output)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(next(path for path in output.absolute().parents if path.exists())).free
            what = f"The disk is full: {output.parent} needs {needed:,} bytes, {free:,} free"
            raise CheckpointError(what, where, "Free some space, or choose a folder on another disk.") from error
        what = f"The checkpoint cannot be written: {error.strerror or error}"
        raise CheckpointError(what, where, "Nothing was left behind; choose another folder if need be.") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file and put it on the disk. Raises OSError."""
    path.write_bytes(content)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            cure = "Wait until it ends, or choose another output folder."
            raise CheckpointError("Another knedit is writing this folder", str(path), cure) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder removed the file in between


def sync_folder(folder: Path) -> None:
    """Put the folder's entries on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(handle)
