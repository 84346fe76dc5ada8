"""One style for all pictures: legible in print, in grey and to the colour-blind, without ornament.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), told apart by marker and hatching too. matplotlib
is fetched when a picture is drawn, and not before.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from knedit.analysis.findings import HUGE, huge
from knedit.errors import KneditError

WIDTH = 7.2  # inches
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "\\\\", "xx", "--", "++", "oo")
WIDE = 1e4  # from here on, an axis goes by powers of ten
_LETTERS = 96  # of a line that says what colours mean
INK, FAINT = "#222222", "#BBBBBB"

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "svg.fonttype": "path",
    "legend.frameon": False,
    "text.parse_math": False,  # a token may hold a dollar sign
}


def need_plotting(where: str) -> None:
    """Raise KneditError where the plotting library is not installed."""
    if find_spec("matplotlib") is None:
        raise KneditError(
            "figures need the package matplotlib, which is not installed",
            where,
            'Run: pip install "knedit[figures]", or leave figures out with --no-figures.',
        )


@contextmanager
def styled(name: str) -> Iterator[None]:
    """Run the body in the style; `name` decides the ids in an SVG, so that the same picture is the same bytes.

    Raises KneditError where the plotting library is not installed.
    """
    need_plotting(name)
    import matplotlib as mpl

    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")  # a token in a script that no font here has
        yield


def head(figure: Any, title: str, handles: Sequence[Any] = (), labels: Sequence[str] = ()) -> None:
    """Write the title above a picture, and below it what colours mean, in one line or in two, if there are several."""
    bold = {"size": 10, "weight": "bold"}
    if len(labels) < 2:
        figure.suptitle(title, x=0.01, ha="left", fontproperties=bold)
        return
    wide = sum(len(label) + 8 for label in labels) > _LETTERS
    legend = figure.legend(
        handles, labels, loc="outside upper left", ncols=2 if wide else len(labels), columnspacing=1.4,
        handletextpad=0.5, borderaxespad=0.2, borderpad=0.2, alignment="left", title=title, title_fontproperties=bold,
    )  # fmt: skip
    legend.get_title().set_color(INK)


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def hatch(number: int) -> str:
    return HATCHES[number % len(HATCHES)]


def told(value: float, *, percent: bool) -> str:
    """Return a value as a picture's label says it."""
    if percent:
        value *= 100
        number = f"{value:,.0f}" if abs(value) >= 10 or abs(value) < 0.05 else f"{value:.1f}"
        word = f"{number if abs(value) < HUGE else huge(value)} %".replace("-0 %", "0 %")
    else:
        word = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}" if abs(value) < HUGE else huge(value)
    return word.replace("-", "−")


def format_axis(axis: Any, *, percent: bool) -> None:
    """Let an axis tell its numbers as `told` does."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, percent=percent)))


def _tick(value: float, *, percent: bool) -> str:
    number = 100 * value if percent else value
    whole = float(number).is_integer()
    word = huge(number) if abs(number) >= HUGE else f"{number:,.0f}" if whole else f"{number:,.{4 if percent else 6}g}"
    return f"{word} %".replace("-", "−") if percent else word.replace("-", "−")


def widen(axis: Any, scale: Callable[..., Any], limit: Callable[..., Any], numbers: Sequence[float]) -> None:
    """Let an axis tell small and huge numbers at once: logarithmic above 1, where that is needed."""
    if max(map(abs, numbers), default=0.0) >= WIDE:
        from matplotlib.ticker import SymmetricalLogLocator

        scale("symlog", linthresh=1.0, linscale=0.6)
        locator = SymmetricalLogLocator(base=10, linthresh=1.0)
        locator.set_params(numticks=7)
        axis.set_major_locator(locator)
        limit(min(3 * min(numbers), -1.0) if min(numbers) < 0 else -0.2, max(6 * max(numbers), 0.4))
