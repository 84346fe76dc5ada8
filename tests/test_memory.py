import ctypes
import gc
import platform
import resource
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


def unopened(_: None) -> None:
    raise OSError


@pytest.mark.parametrize(
    "library", [unopened, int, lambda _: object()], ids=["no library", "no name", "no such function"]
)
def test_elsewhere_there_is_nothing_to_ask(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def noted(name: None) -> Any:
        opened.append(name)
        return library(name)

    fresh(monkeypatch, noted)
    memory.give_back()
    memory.give_back()
    assert opened == [None]  # looked for once, and found wanting
    assert memory._trim() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="holes in the heap are GNU's to give back")
def test_holes_between_what_stays_are_given_back() -> None:
    held = [bytearray(65_536) for _ in range(2_048)]  # below what is mapped alone
    del held[::2]
    gc.collect()
    before = resident()
    memory.give_back()
    assert before - resident() > 2_048 * 65_536 // 4


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
