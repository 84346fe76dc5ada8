"""Speed and exactness of one network's contestants, one prompt a round: the sections gpt2, bert and smollm2."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from knedit.attribution.attribute_prompt import Attribution
from knedit.attribution.quadrature import RULES
from knedit.models.model import Model
from knedit.models.prompting import Query

from .clock import Work, alternate, medians, plain_products, watched
from .contestants import GIB, MODULES, STEPS, captum, check_installed, eleutherai, knedit, loop
from .exactness import completeness, largest_difference, truth, worst_layer
from .networks import network, queries_for
from .report import Row, Section, Target

_KINDS = ("completeness", "difference", "worst_layer")
SAME, ADAPTIVE, PLAIN = "knedit, same rule", "knedit, adaptive", "its matrix products"


@dataclass(frozen=True)
class Setting:
    """What the command line says."""

    repeats: int = 3
    device: str = "cpu"
    threads: int = 1
    memory: int = 2 * GIB
    prompts: int = 100
    tiny: bool = False
    batches: tuple[int, ...] = (1, 4, 16, 64, 256)


@dataclass(frozen=True)
class Course:
    """What is compared on a network: the peers, and how many times faster knedit shall be than each of them."""

    network: str
    same: Mapping[str, float]
    adaptive: Mapping[str, float]
    half_of_products: bool = False


COURSES = {
    "gpt2": Course("gpt2", {"EleutherAI": 12, "Captum": 12}, {"EleutherAI": 35, "Captum": 40}),
    "bert": Course("bert-base", {"EleutherAI": 2.5, "Captum": 2.5}, {"EleutherAI": 9, "Captum": 9}, True),
    "smollm2": Course("smollm2", {"loop": 8}, {"loop": 20}),
}


@dataclass
class _Race:
    """The network, the prompts and what the contestants gave, one result a round."""

    model: Model
    queries: list[Query]
    found: dict[str, list[Any]] = field(default_factory=dict)

    def entrant(self, name: str, ask: Callable[[Query], Any]) -> Callable[[], None]:
        """Return a call that takes the next prompt at each round and keeps what it gave."""
        kept = self.found.setdefault(name, [])

        def run() -> None:
            kept.append(ask(self.queries[len(kept)]))

        return run


def speed(name: str, setting: Setting) -> Section:
    course = COURSES[name]
    peers = [*course.same, *([] if "Captum" in course.same else ["Captum"])]
    check_installed(*(MODULES[peer] for peer in peers if peer in MODULES))
    model = network(course.network, device=setting.device, tiny=setting.tiny)
    queries = queries_for(course.network, model, setting.repeats, tiny=setting.tiny)
    asks = _asks(model, peers, setting)
    works = {contestant: watched(partial(ask, queries[0]))[1] for contestant, ask in asks.items()}
    race = _Race(model, queries)
    entrants = {contestant: race.entrant(contestant, ask) for contestant, ask in asks.items()}
    entrants[PLAIN] = plain_products(works[SAME], device=model.device, dtype=model.dtype)
    taken = alternate(entrants, len(queries))
    return _section(course, model, taken=taken, works=works, exact=_exactness(race, peers))


def _asks(model: Model, peers: list[str], setting: Setting) -> dict[str, Callable[[Query], Any]]:
    ends = RULES["ends"](STEPS)
    asks: dict[str, Callable[[Query], Any]] = {
        SAME: lambda query: knedit(model, [query], rule="ends", steps=STEPS, memory=setting.memory)[0],
        ADAPTIVE: lambda query: knedit(model, [query], memory=setting.memory)[0],
        "EleutherAI": lambda query: eleutherai(model, query),
        "Captum": lambda query: captum(model, query),
        "loop": lambda query: loop(model, query, ends.points, ends.weights),
    }
    return {name: ask for name, ask in asks.items() if name in (SAME, ADAPTIVE, *peers)}


def _exactness(race: _Race, peers: list[str]) -> dict[str, dict[str, float]]:
    """Return for each contestant its largest completeness error, and its errors where there is something to equal."""
    exact: dict[str, dict[str, float]] = {}
    for turn, query in enumerate(race.queries):
        same, adaptive = race.found[SAME][turn], race.found[ADAPTIVE][turn]
        true, rough, own = truth(race.model, query)
        found = {
            SAME: {"worst_layer": worst_layer(same.scores, true)},
            ADAPTIVE: {"worst_layer": worst_layer(adaptive.scores, true), "points": float(adaptive.points)},
            "truth": {"completeness": own, "rough_layers": float(len(rough))},
        }
        for name in (SAME, ADAPTIVE, *peers):
            scores = _scores(race.found[name][turn])
            found.setdefault(name, {})["completeness"] = completeness(scores, adaptive.rise)
            if name in peers:
                mine = knedit(race.model, [query], rule="right", steps=STEPS)[0] if name == "Captum" else same
                found[name]["difference"] = largest_difference(scores, mine.scores)
        for name, errors in found.items():
            kept = exact.setdefault(name, {})
            kept |= {kind: max(error, kept.get(kind, 0.0)) for kind, error in errors.items()}
    return exact


def _scores(found: Attribution | Tensor) -> Tensor:
    return found.scores if isinstance(found, Attribution) else found.cpu().float()


def _section(
    course: Course,
    model: Model,
    *,
    taken: dict[str, list[float]],
    works: Mapping[str, Work],
    exact: Mapping[str, Mapping[str, float]],
) -> Section:
    middle = medians(taken)
    rates = {name: work.flops / middle[name] for name, work in works.items()}
    rates[PLAIN] = works[SAME].flops / middle[PLAIN]
    peers = [name for name in works if name not in (SAME, ADAPTIVE)]
    targets = [
        *_faster(SAME, course.same, middle),
        *_faster(ADAPTIVE, course.adaptive, middle),
        *(Target(f"largest difference from {peer}", exact[peer]["difference"], 1e-4, False) for peer in peers),
        Target("adaptive, worst layer's error", exact[ADAPTIVE]["worst_layer"], 0.01, False),
    ]
    if course.half_of_products:
        targets.append(Target("same rule's share of its matrix products' speed", rates[SAME] / rates[PLAIN], 0.5))
    figures = {
        "seconds": taken,
        "medians": middle,
        "ratios": {mine: {peer: middle[peer] / middle[mine] for peer in peers} for mine in (SAME, ADAPTIVE)},
        "flops": {name: work.flops for name, work in works.items()},
        "flops_per_second": rates,
        "exactness": exact,
    }
    layout = model.layout
    title = f"{course.network}: {layout.n_layers} layers of {layout.ffn_width} neurons, {model.dtype}, {model.device}"
    return Section(title, figures, _rows(middle, rates, exact), _notes(exact), targets)


def _faster(mine: str, wanted: Mapping[str, float], middle: Mapping[str, float]) -> list[Target]:
    return [
        Target(f"{mine}, times {peer}'s speed", middle[peer] / middle[mine], times) for peer, times in wanted.items()
    ]


def _rows(
    middle: Mapping[str, float], rates: Mapping[str, float], exact: Mapping[str, Mapping[str, float]]
) -> list[Row]:
    header = (
        "contestant",
        "median s",
        "to same",
        "to adaptive",
        "GFLOP/s",
        "completeness",
        "difference",
        "worst layer",
    )
    rows: list[Row] = [header]
    for name in middle:
        errors = exact.get(name, {})
        rows.append(
            (
                name,
                f"{middle[name]:.3f}",
                f"{middle[name] / middle[SAME]:.2f}",
                f"{middle[name] / middle[ADAPTIVE]:.2f}",
                f"{rates[name] / 1e9:.1f}",
                *(f"{errors[kind]:.1e}" if kind in errors else "" for kind in _KINDS),
            )
        )
    return rows


def _notes(exact: Mapping[str, Mapping[str, float]]) -> list[str]:
    true = exact["truth"]
    return [
        "completeness: |Σ Attr − (P(w) − P(0))|; difference: from knedit with the peer's rule, as a share of the",
        "largest score; worst layer: relative L2 from the truth, which is complete to "
        f"{true['completeness']:.1e} ({int(true['rough_layers'])} rough layers at most).",
    ]
