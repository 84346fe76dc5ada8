"""Context managers that look into a network or lend it other states, and leave it bit for bit as it was.

Knows nothing of families: it is handed modules.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

_FROZEN: WeakSet[nn.Module] = WeakSet()


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Run the body with the network in evaluation mode and no parameter asking for gradients; then restore both.

    Within such a body it is nothing more to do, and done at once.
    """
    if net in _FROZEN:
        yield
        return
    training = [module for module in net.modules() if module.training]
    asking = [parameter for parameter in net.parameters() if parameter.requires_grad]
    _FROZEN.add(net)
    try:
        for module in training:
            module.training = False
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        _FROZEN.discard(net)
        for parameter in asking:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


@contextmanager
def watched_inputs(modules: Sequence[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """Collect the first input of every call of each module, in order of calls; the list is one list a module."""
    seen: list[list[Tensor]] = [[] for _ in modules]

    def watcher(place: int) -> Callable[..., None]:
        def watch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[place].append(first_input(args, kwargs))

        return watch

    with ExitStack() as hooks:
        for place, module in enumerate(modules):
            handle = module.register_forward_pre_hook(watcher(place), with_kwargs=True)
            hooks.callback(handle.remove)
        yield seen


@dataclass(frozen=True, slots=True)
class Seen:
    """One call of a module: its first input and its first output."""

    module: nn.Module
    taken: Tensor
    given: Tensor


@contextmanager
def watched_calls(modules: Sequence[nn.Module]) -> Iterator[list[Seen]]:
    """Collect every call of the modules in order; one that is listed twice is still seen once a call."""
    seen: list[Seen] = []

    def watch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        seen.append(Seen(module, first_input(args, kwargs), first_output(output)))

    with ExitStack() as hooks:
        for module in dict.fromkeys(modules):
            hooks.callback(module.register_forward_hook(watch, with_kwargs=True).remove)
        yield seen


@contextmanager
def changed_inputs(modules: Sequence[nn.Module], change: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """Let `change(place, x)` replace the first input of each module while the body runs."""

    def changer(place: int) -> Callable[..., Any]:
        def pre(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (change(place, args[0]), *args[1:])

        return pre

    with ExitStack() as hooks:
        for place, module in enumerate(modules):
            hooks.callback(module.register_forward_pre_hook(changer(place)).remove)
        yield


@contextmanager
def lent_forward(module: nn.Module, part: Callable[..., Any]) -> Iterator[None]:
    """Let `part(original, *args, **kwargs)` answer a module's calls while the body runs; `original` is its forward."""
    own = module.__dict__.get("forward")
    original = module.forward
    module.__dict__["forward"] = partial(part, original)
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the hidden states that a call was given, by position or by the name `hidden_states`."""
    found = args[0] if args else kwargs["hidden_states"]
    assert isinstance(found, torch.Tensor)
    return found


def first_output(output: Any) -> Tensor:
    """Return the hidden states that a call gave, alone or as the first of a tuple."""
    found = output[0] if isinstance(output, tuple) else output
    assert isinstance(found, torch.Tensor)
    return found
