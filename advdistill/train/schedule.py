"""The learning rate as a function of the epochs done: it has no state, so a resumed run has the same."""

import math
from collections.abc import Callable

from ..recipe import Schedule

__all__ = ["epochs_of", "rate"]


def rate(schedule: Schedule, done: float, epochs: int) -> float:
    """The factor on the learning rate after `done` of `epochs` epochs, a fraction of an epoch included."""
    match schedule.kind:
        case "constant":
            return 1.0
        case "multistep":
            passed = sum(done >= epochs_of(milestone, epochs) for milestone in schedule.milestones)
            return schedule.gamma**passed
        case "cosine":
            return _climb(schedule, done, epochs, lambda fall: (1 + math.cos(math.pi * fall)) / 2)
        case "onecycle":
            return _climb(schedule, done, epochs, lambda fall: 1 - fall)


def _climb(schedule: Schedule, done: float, epochs: int, descend: Callable[[float], float]) -> float:
    top = epochs_of(schedule.warmup, epochs)
    if done < top:
        return (done + 1e-3) / (top + 1e-3)  # the very first step moves, too
    top = max(top, epochs_of(schedule.hold, epochs))
    return descend(max(0.0, done - top) / (epochs - top))


def epochs_of(length: float, epochs: int) -> float:
    """A length of a schedule in epochs: below 1 it is a fraction of the run."""
    return length * epochs if length < 1 else length
