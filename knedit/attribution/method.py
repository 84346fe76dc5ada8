"""How to attribute: the choice of a method and what belongs to it. Knows no models and no records."""

from dataclasses import dataclass

from knedit.attribution.integrated_gradients import DEFAULT_STEPS
from knedit.errors import KneditError


@dataclass(frozen=True, slots=True)
class Method:
    """How to attribute: a quadrature rule, its number of points, and the adaptive rule's tolerance."""

    name: str = "integrated-gradients"
    rule: str = "adaptive"
    steps: int | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.rule not in DEFAULT_STEPS:
            raise KneditError(
                f"there is no rule {self.rule!r}", "attribution", f"Choose one of {', '.join(DEFAULT_STEPS)}."
            )
        least = 3 if self.rule == "adaptive" else 1
        if self.steps is not None and not least <= self.steps <= 1000:
            raise KneditError(
                f"{self.steps} steps are not between {least} and 1000", "attribution", "Choose another number."
            )
        if not 0 < self.tolerance < 1:
            raise KneditError(
                f"the tolerance {self.tolerance} is not between 0 and 1", "attribution", "The default is 0.01."
            )
