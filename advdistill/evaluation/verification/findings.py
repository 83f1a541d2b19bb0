"""The findings of a verification, as numbers and as plain sentences."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...results.result import wilson

__all__ = ["MAX_BROKEN_SHARE", "MAX_CHANGED_SHARE", "Again", "Breaks", "Clean", "Survivors", "Verification"]

MAX_BROKEN_SHARE = 0.25  # hypothesis: a stronger attack breaks at most this share of the survivors
# hypothesis: an attack run again changes at most this share of verdicts: other random starts, rounding
MAX_CHANGED_SHARE = 0.05


@dataclass(frozen=True)
class Clean:
    """The verdicts on `n` clean images, compared with the model's predictions here.

    Attributes:
        differ: number of verdicts that differ.
        undecided: number of verdicts that differ by no more than rounding.
    """

    n: int
    differ: int
    undecided: int

    @property
    def ok(self) -> bool:
        return not self.differ

    def lines(self) -> Iterator[str]:
        yield f"{self.n - self.differ - self.undecided} of {self.n} verdicts confirmed."
        if self.differ:
            yield f"WRONG, verdicts that are not this model's: {self.differ}."
        if self.undecided:
            yield f"Undecided, by no more than rounding: {self.undecided}."


@dataclass(frozen=True)
class Breaks:
    """Numbers of images, correct when clean, that one attack is reported to have broken, by outcome of the check.

    Attributes:
        counted: broken according to the verdicts; each is one of the next five.
        confirmed: x' is inside the threat model and misclassified.
        outside: x' is farther than eps from x, or not in [0, 1].
        not_wrong: x' is classified correctly.
        undecided: x' is classified correctly by no more than rounding.
        missing: there is no x'.
        contradicted: images reported as robust that an x' of the same attack breaks.
        never_right: images reported as robust that are misclassified without an attack.
    """

    counted: int
    confirmed: int
    outside: int
    not_wrong: int
    undecided: int
    missing: int
    contradicted: int
    never_right: int = 0

    @property
    def ok(self) -> bool:
        return not self.outside + self.not_wrong + self.contradicted + self.never_right

    def lines(self) -> Iterator[str]:
        yield f"{self.confirmed} of {self.counted} breaks confirmed: inside eps, and really wrong."
        said = {
            "outside": "WRONG, breaks outside eps or the pixel range",
            "not_wrong": "WRONG, breaks that are classified correctly",
            "contradicted": "WRONG, images said to be robust, which their own adversarial image breaks",
            "never_right": "WRONG, images said to be robust, which are misclassified without an attack",
            "undecided": "Unverified, classified correctly by no more than rounding",
            "missing": "Unverified, breaks without an adversarial image",
        }
        yield from (f"{text}: {getattr(self, name)}." for name, text in said.items() if getattr(self, name))


@dataclass(frozen=True)
class Again:
    """An attack of the result, run again on a sample of the images that are correct when clean.

    Attributes:
        robust, newly_broken: images reported as robust, and how many of them the new run broke.
        broken, not_broken: images reported as broken, and how many of them the new run did not break.
    """

    robust: int
    newly_broken: int
    broken: int
    not_broken: int

    @property
    def ok(self) -> bool:
        """Whether the 95 % intervals of both shares of differing verdicts reach down to `MAX_CHANGED_SHARE`."""
        pairs = (self.newly_broken, self.robust), (self.not_broken, self.broken)
        return all(not count or wilson(count, n)[0] <= MAX_CHANGED_SHARE for count, n in pairs)

    def lines(self) -> Iterator[str]:
        n, differ = self.robust + self.broken, self.newly_broken + self.not_broken
        said = f"run again on {n} images, {n - differ} verdicts are the same"
        broken = f"{self.newly_broken} of {self.robust} robust ones were broken"
        details = f"; {broken}, {self.not_broken} of {self.broken} broken ones were not"
        yield (f"{said}{details if differ else ''}." if self.ok else f"WRONG, {said}{details}.")


@dataclass(frozen=True)
class Survivors:
    """The outcome of another attack on a sample of the images that one attack left classified correctly.

    Attributes:
        attack, by: the strongest attack of the result, and the other attack.
        n, remaining: how many images the strongest attack attacked, and how many it left classified correctly.
        sampled, newly_broken: how many of the remaining were drawn, and how many of those the other attack broke.
    """

    attack: str
    by: str
    n: int
    remaining: int
    sampled: int
    newly_broken: int

    @property
    def lower(self) -> tuple[float, float, float]:
        """The decrease of the robust accuracy, a fraction of `n`, and the ends of its 95 % Wilson interval."""
        share = self.newly_broken / self.sampled
        ends = (share, share) if self.sampled == self.remaining else wilson(self.newly_broken, self.sampled)
        lower, low, high = (part * self.remaining / self.n for part in (share, *ends))
        return lower, low, high

    def supports(self, bound: float) -> bool:
        """Return whether the 95 % interval of the share of survivors that fell reaches down to `bound`."""
        share = self.newly_broken / self.sampled
        return (share if self.sampled == self.remaining else wilson(self.newly_broken, self.sampled)[0]) <= bound

    def __str__(self) -> str:
        lower, low, high = self.lower
        said = f"{self.newly_broken} of {self.sampled} survivors of {self.attack} fell to {self.by}"
        interval = f"95 % interval {low:.1%} to {high:.1%}"
        return f"{said}: this lowers its accuracy on all images by about {lower:.1%} ({interval})."


@dataclass(frozen=True)
class Verification:
    """The verification of a published result.

    Attributes:
        clean: `None` if the result has no clean accuracy.
        breaks: by attack.
        survivors: `None` if nothing was attacked.
        bound: the share of the survivors that another attack may break.
        again: by attack, the outcome of running it again, or why it was not run.
        contradictions: one sentence for each fact that contradicts another fact.
        left_out: sentences about files next to the result that belong to another evaluation and were not used.
    """

    model: str
    data: str
    threat: str
    clean: Clean | None
    breaks: dict[str, Breaks]
    survivors: Survivors | None
    bound: float = MAX_BROKEN_SHARE
    again: Mapping[str, Again | str] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no verdict is wrong. Those that cannot be checked, or are on survivors that fell, are not wrong."""
        again = (one for one in self.again.values() if isinstance(one, Again))
        return not self.contradictions and all(part.ok for part in (*self._parts().values(), *again))

    @property
    def supported(self) -> bool:
        """Whether the hypothesis holds: a stronger attack breaks at most `bound` of the survivors."""
        return self.survivors is None or self.survivors.supports(self.bound)

    @property
    def unverified(self) -> int:
        """Number of verdicts that could be neither confirmed nor refuted."""
        clean = self.clean.undecided if self.clean else 0
        return clean + sum(one.missing + one.undecided for one in self.breaks.values())

    def lines(self) -> list[str]:
        """Return sentences for a terminal, the conclusion last."""
        found = [f"{name}: {line}" for name, part in self._parts().items() for line in part.lines()]
        for name, one in self.again.items():
            found += [one] if isinstance(one, str) else [f"{name}: {line}" for line in one.lines()]
        found += [f"WRONG, {said}." for said in self.contradictions]
        survivors = [str(self.survivors), self._hypothesis()] if self.survivors else []
        head = f"{self.model} on {self.data}, {self.threat}"
        return [head, *self.left_out, *found, *survivors, self._conclusion()]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _parts(self) -> dict[str, Clean | Breaks]:
        return ({"clean": self.clean} if self.clean else {}) | self.breaks

    def _hypothesis(self) -> str:
        stated = f"Hypothesis: a stronger attack breaks at most {self.bound:.0%} of the survivors"
        return f"{stated}: {'not refuted' if self.supported else 'REFUTED'}."

    def _conclusion(self) -> str:
        if not self.ok:
            return "The result is wrong: see WRONG above."
        if not self.supported:
            return "The robust accuracy is not supported: its attack was too weak, or is not the one that was run."
        if self.unverified:
            return f"No verdict is wrong, but {self.unverified} are unverified."
        return "Every counted verdict is confirmed."
