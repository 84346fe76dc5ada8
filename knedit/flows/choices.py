"""How an edit is to be made: what a user may choose, and what an edit's configuration says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knedit.editing.scale import DEFAULT_FACTOR
from knedit.editing.solve import JOINT, Weights, check_solver, is_joint, verb_of
from knedit.errors import EditError

ON_FAILURE = ("stop", "skip")
LEAST, MOST = "at least", "at most"
GATES: Mapping[str, tuple[str, float]] = {
    "growth": (MOST, 16.0),
    "perplexity": (MOST, 0.03),
    "protected": (LEAST, 1.0),
    "earlier": (LEAST, 0.95),
    "success": (LEAST, 0.9),
}


@dataclass(frozen=True, slots=True)
class Gating:
    """The gates that an edit is put through, where it is refused unless it is to be `forced`.

    `thresholds` are a user's own; the others are those of GATES. Plans whose solvers work by neurons alone are put
    through the gates that are named here, for the paper's own edits seldom pass all of them.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    forced: bool = False

    def __post_init__(self) -> None:
        if unknown := [name for name in self.thresholds if name not in GATES]:
            raise EditError(f"there is no gate {unknown[0]!r}", "--gate", f"Choose among {', '.join(GATES)}.")

    def of(self, *, joint: bool) -> dict[str, float]:
        """Return the thresholds of the gates that a plan is put through."""
        usual = {name: threshold for name, (_, threshold) in GATES.items()} if joint else {}
        return usual | dict(self.thresholds)


@dataclass(frozen=True, slots=True)
class Choices:
    """How an edit is to be made: solvers, the roles of neurons that may be touched, and how many erase a relation.

    `scale` is the factor of amplified value vectors. `columns` (None: the solver's usual number; 0: all), `layers` and
    `steps` of the search are those of solvers that choose their own neurons; with `on_failure` "skip", facts for which
    that fails are left out of the plan. `swept` are the layers that a sweep chose, where `layers` names none.
    """

    update_solver: str = "closed-form"
    erase_solver: str = "prior"
    weights: tuple[float, float] = field(default_factory=lambda: Weights().embedding)
    roles: tuple[str, ...] = ("fact",)
    relation_neurons: int = 20
    amplify_solver: str = "scale"
    scale: float = DEFAULT_FACTOR
    columns: int | None = None
    layers: tuple[int, ...] | None = None
    steps: int | None = None
    swept: tuple[int, ...] | None = None
    on_failure: str = "stop"
    gating: Gating = field(default_factory=Gating)

    def check(self) -> None:
        """Raise EditError for solvers that there are not."""
        for verb, name in self.solvers.items():
            check_solver(verb, name)
        assert self.on_failure in ON_FAILURE

    @property
    def solvers(self) -> dict[str, str]:
        return {"update": self.update_solver, "erase": self.erase_solver, "amplify": self.amplify_solver}

    def joint(self, operation: str) -> bool:
        """Tell whether an operation's solver chooses its own neurons."""
        return is_joint(operation, self.solvers[verb_of(operation)])

    def as_config(self) -> dict[str, Any]:
        """Return what an edit's configuration says; of solvers that are not at work, as little as may be."""
        config: dict[str, Any] = {
            "update": {"solver": self.update_solver, "weights": list(self.weights)},
            "erase": {"solver": self.erase_solver, "relation_neurons": self.relation_neurons},
            "amplify": {"solver": self.amplify_solver, "factor": self.scale},
            "roles": list(self.roles),
        }
        joint = any(self.joint(verb) for verb in JOINT)
        gates = self.gating.of(joint=joint)
        if gates:
            config["gates"] = {**gates, "forced": self.gating.forced}
        return config


def solvers_of(config: Any) -> dict[str, str]:
    """Return the solver of each operation that an edit's configuration names."""
    erase = config["erase"]["solver"]
    amplify = config.get("amplify", {"solver": "scale"})["solver"]
    return {"update": config["update"]["solver"], "erase": erase, "erase-relation": erase, "amplify": amplify}


def weights_of(config: Any) -> Weights:
    """Return the solvers' settings that an edit's configuration holds."""
    old, new = config["update"]["weights"]
    factor = config.get("amplify", {"factor": DEFAULT_FACTOR})["factor"]
    return Weights((float(old), float(new)), float(factor))
