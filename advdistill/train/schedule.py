"""The learning rate as a function of the epochs done: it has no state, so a resumed run has the same."""

import math

from ..recipe import Schedule

__all__ = ["epochs_of", "rate"]


def rate(schedule: Schedule, done: float, epochs: int) -> float:
    """The factor on the learning rate after `done` of `epochs` epochs, a fraction of an epoch included."""
    top = epochs_of(schedule.warmup, epochs)
    if done < top:
        return (done + 1e-3) / (top + 1e-3)  # the very first step moves, too
    match schedule.kind:
        case "constant":
            return 1.0
        case "multistep":
            passed = sum(done >= epochs_of(milestone, epochs) for milestone in schedule.milestones)
            return schedule.gamma**passed
        case "cosine":
            return (1 + math.cos(math.pi * _fallen(schedule, done, epochs))) / 2
        case "onecycle":
            return 1 - _fallen(schedule, done, epochs)


def _fallen(schedule: Schedule, done: float, epochs: int) -> float:
    """The share of the descent that is done, which begins after `warmup` and `hold`."""
    top = max(epochs_of(schedule.warmup, epochs), epochs_of(schedule.hold, epochs))
    done = done if schedule.by == "step" else min(math.floor(done) + 1, epochs)
    return max(0.0, done - top) / (epochs - top)


def epochs_of(length: float, epochs: int) -> float:
    """A length of a schedule in epochs: below 1 it is a fraction of the run."""
    return length * epochs if length < 1 else length
