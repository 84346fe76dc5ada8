"""How to attribute: a method's name and its settings, and the entries of a run's configuration that stand for them.

Knows no models and no scores; the methods themselves are in `methods`, under the same names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from knedit.attribution.baselines import BASELINES
from knedit.attribution.integrated_gradients import DEFAULT_STEPS
from knedit.attribution.smoothing import SMOOTHINGS
from knedit.errors import KneditError
from knedit.starter.sentences import edition

# The settings that each method's scores depend on; some matter only beside others (see `Method.settings`).
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "integrated-gradients": ("rule", "steps", "tolerance", "baseline", "reference"),
    "activation": (),
    "gradient-activation": (),
    "log-probability-increase": (),
    "alignment": (),
}
_SMOOTHING = ("smoothing", "samples", "sigma", "seed")
_FEWEST_STEPS = {"adaptive": 3}
_MOST = {"steps": 1000, "samples": 1000}
_LONGEST_REFERENCE = 100_000


@dataclass(frozen=True, slots=True)
class Method:
    """A method and its settings; one that means nothing beside the others must be left at its default.

    `sigma` None: chosen so that the answers' probability drops by about 5 % (`choose_sigma`). `reference`: the
    sentences whose tokens the baseline `mean` averages over; None for those that come with knedit. Raises KneditError
    for names that do not exist, numbers out of range, and settings without meaning.
    """

    name: str = "integrated-gradients"
    rule: str = "adaptive"
    steps: int | None = None
    tolerance: float = 0.01
    baseline: str = "zero"
    smoothing: str | None = None
    samples: int = 8
    sigma: float | None = None
    seed: int = 0
    reference: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_name("attribution method", self.name, SETTINGS)
        _check_name("rule", self.rule, DEFAULT_STEPS)
        _check_name("baseline", self.baseline, BASELINES)
        if self.smoothing is not None:
            _check_name("smoothing", self.smoothing, SMOOTHINGS)
        _check_numbers(self)
        _check_reference(self.reference)
        for field in fields(self):
            if field.name not in self.settings and getattr(self, field.name) != field.default:
                raise KneditError(
                    f"{field.name} {getattr(self, field.name)!r} means nothing to {_told(self)}",
                    "attribution",
                    f"Leave {field.name} out, or choose a method that uses it.",
                )

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the fields that this method's scores depend on."""
        without = set()
        if self.rule != "adaptive":
            without.add("tolerance")
        if self.baseline != "mean":
            without.add("reference")
        smoothing = _SMOOTHING if self.smoothing else ()
        return ("name", *(name for name in SETTINGS[self.name] if name not in without), *smoothing)


def method_config(method: Method) -> dict[str, Any]:
    """Return the entries that identify a run by this method: those alone that its scores depend on.

    The number of steps is written out, so that another default later is another run; the text that comes with knedit
    is named with its fingerprint. A smoothed method must have its σ by now.
    """
    assert method.smoothing is None or method.sigma is not None, "σ is to be chosen before the run is named"
    found = {name: getattr(method, name) for name in method.settings if name != "name"}
    if "steps" in found:
        found["steps"] = method.steps or DEFAULT_STEPS[method.rule]
    if "reference" in found:
        found["reference"] = edition() if method.reference is None else list(method.reference)
    return {"method": method.name, **found}


def method_from_config(config: Mapping[str, Any]) -> Method:
    """Return the method that a run's configuration tells of; other entries are passed over.

    Raises KneditError if the configuration is not one that this knedit can repeat.
    """
    known = {field.name for field in fields(Method)} - {"name"}
    found = {name: value for name, value in config.items() if name in known and value is not None}
    reference = found.pop("reference", None)
    if isinstance(reference, str) and reference != edition():
        raise KneditError(
            f"the run's baseline was taken over the text {reference}, and this knedit brings {edition()}",
            "attribution",
            "Repeat it with the knedit version that the run names.",
        )
    if isinstance(reference, list):
        found["reference"] = tuple(reference)
    return Method(name=config.get("method", ""), **found)


def _check_name(what: str, name: str, choices: Mapping[str, object]) -> None:
    if name not in choices:
        raise KneditError(f"there is no {what} {name!r}", "attribution", f"Choose one of {', '.join(choices)}.")


def _check_numbers(method: Method) -> None:
    fewest = _FEWEST_STEPS.get(method.rule, 1)
    if method.steps is not None and not fewest <= method.steps <= _MOST["steps"]:
        raise KneditError(
            f"{method.steps} steps are not between {fewest} and {_MOST['steps']}",
            "attribution",
            "Choose another number.",
        )
    if not 1 <= method.samples <= _MOST["samples"]:
        raise KneditError(
            f"{method.samples} samples are not between 1 and {_MOST['samples']}", "attribution", "The default is 8."
        )
    if not 0 < method.tolerance < 1:
        raise KneditError(
            f"the tolerance {method.tolerance} is not between 0 and 1", "attribution", "The default is 0.01."
        )
    if method.sigma is not None and not 0 < method.sigma <= 1:
        raise KneditError(
            f"sigma {method.sigma} is not above 0 and at most 1",
            "attribution",
            "Leave it out: it is then chosen so that answers lose about 5 % of their probability.",
        )


def _check_reference(reference: tuple[str, ...] | None) -> None:
    if reference is None:
        return
    if not any(sentence.strip() for sentence in reference):
        raise KneditError("the reference text is empty", "attribution", "Give it some sentences, one a line.")
    if sum(map(len, reference)) > _LONGEST_REFERENCE:
        raise KneditError(
            f"the reference text is longer than {_LONGEST_REFERENCE} characters",
            "attribution",
            "Take a part of it: it is kept with every run.",
        )


def _told(method: Method) -> str:
    """Return what the settings are of, as an error says it."""
    if "rule" not in method.settings:
        return method.name
    smoothing = method.smoothing or "no"
    return f"{method.name} by the rule {method.rule} with the baseline {method.baseline} and {smoothing} smoothing"
