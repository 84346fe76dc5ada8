import ctypes
import platform
from pathlib import Path
from typing import Any

import pytest

from knedit import memory


def fresh(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    memory._trim.cache_clear()


@pytest.fixture(autouse=True)
def _forgotten() -> Any:
    yield
    memory._trim.cache_clear()


def test_freed_memory_is_asked_for_where_the_c_library_can_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Library:
        def __init__(self, _: None) -> None:
            self.malloc_trim = asked.append

    fresh(monkeypatch, Library)
    memory.give_back()
    assert asked == [0]


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: None) -> None:
        raise OSError

    for library in (none, object.__call__, lambda _: object()):
        fresh(monkeypatch, library)
        memory.give_back()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="holes in the heap are GNU's to give back")
def test_holes_between_what_stays_are_given_back() -> None:
    import gc

    held = [bytearray(65_536) for _ in range(2_048)]  # below what is mapped alone
    del held[::2]
    gc.collect()
    before = resident()
    memory.give_back()
    assert before - resident() > 2_048 * 65_536 // 4


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
