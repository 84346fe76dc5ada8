"""The options that say how scores are made, and the run's configuration that they, or another run, stand for."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import click
from click.core import ParameterSource

from knedit.errors import KneditError

Command = Callable[..., Any]

METHODS = ("integrated-gradients", "activation", "gradient-activation", "log-probability-increase", "alignment")
RULES = ("adaptive", "gauss", "midpoint", "left", "right", "ends")
BASELINES = ("zero", "mean", "mask-token")
SMOOTHINGS = ("noisegrad", "smoothgrad", "fusiongrad")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "auto")

_OPTIONS = (
    click.option(
        "--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True, help="What a score is."
    ),
    click.option(
        "--rule",
        type=click.Choice(RULES),
        default="adaptive",
        show_default=True,
        help="Quadrature of the path; left is the authors' code, right the paper, ends EleutherAI's library.",
    ),
    click.option("--steps", type=int, help="Points (of each interval, if adaptive)."),
    click.option(
        "--tolerance",
        type=float,
        default=0.01,
        show_default=True,
        help="Adaptive: completeness error allowed, as a share of the largest |P(w) − P(w0)|.",
    ),
    click.option(
        "--baseline", type=click.Choice(BASELINES), default="zero", show_default=True, help="Where paths begin: w0."
    ),
    click.option("--smoothing", type=click.Choice(SMOOTHINGS), help="Average over noise on weights, inputs, or both."),
    click.option("--samples", type=int, default=8, show_default=True, help="Draws of a smoothing's noise."),
    click.option(
        "--sigma", type=float, help="Strength of the noise; else what costs answers 5 % of their probability."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise."),
    click.option(
        "--position",
        default="answer",
        show_default=True,
        metavar="P",
        help="Whose neurons: answer (the token that predicts it), last, subject-last, subject, or a token's number.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(PRECISIONS),
        default="float32",
        show_default=True,
        help="Precision of the computation; tf32 is float32 with NVIDIA's shorter products.",
    ),
)
_NAMES = ("method", "rule", "steps", "tolerance", "baseline", "smoothing", "samples", "sigma", "seed")
_OTHERS = ("position", "dtype")


def method_options(command: Command) -> Command:
    """Give a command the options above, and `--like` in their place."""
    like = click.option("--like", metavar="RUN", help="Repeat a run's exact configuration, here or on another model.")
    return reduce(lambda wrapped, option: option(wrapped), reversed((*_OPTIONS, like)), command)


def chosen_setting(catalog: Any, arguments: dict[str, Any]) -> Any:
    """Take the options above out of `arguments` and return their Setting, or that of the run that --like names.

    Raises KneditError where --like stands beside one of the others, or an option is impossible.
    """
    from knedit.attribution.method import Method
    from knedit.flows.blocks import Setting
    from knedit.flows.configuration import setting_of

    like = arguments.pop("like")
    given = {name: arguments.pop(name) for name in (*_NAMES, *_OTHERS)}
    if like is not None:
        _check_alone(given)
        return setting_of(catalog, like)
    name, position, dtype = (given.pop(key) for key in ("method", *_OTHERS))
    return Setting(Method(name=name, **given), position, dtype)


def _check_alone(names: dict[str, Any]) -> None:
    context = click.get_current_context()
    beside = [name for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if beside:
        raise KneditError(
            f"--like takes the whole configuration from a run, and --{beside[0]} stands beside it",
            "attribute",
            "Leave one of the two out.",
        )
