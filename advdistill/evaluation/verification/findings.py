"""What a verification found: numbers, and plain sentences."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...results.result import wilson

__all__ = ["Breaks", "Clean", "Survivors", "Verification"]


@dataclass(frozen=True)
class Clean:
    """The verdicts on `n` clean images, compared with ours.

    Attributes:
        differ: verdicts that are not ours.
        undecided: the same, but by no more than rounding.
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
    """The images, right when clean, that one attack is said to have broken.

    Attributes:
        counted: broken by the verdicts; each is one of the next five.
        confirmed: x' is inside the threat model and misclassified.
        outside: x' is farther than eps from x, or not in [0, 1].
        not_wrong: x' is classified correctly.
        undecided: the same, but by no more than rounding.
        missing: there is no x'.
        contradicted: images said to be robust, which an x' of the same attack breaks.
    """

    counted: int
    confirmed: int
    outside: int
    not_wrong: int
    undecided: int
    missing: int
    contradicted: int

    @property
    def ok(self) -> bool:
        return not self.outside + self.not_wrong + self.contradicted

    def lines(self) -> Iterator[str]:
        yield f"{self.confirmed} of {self.counted} breaks confirmed: inside eps, and really wrong."
        said = {
            "outside": "WRONG, breaks outside eps or the pixel range",
            "not_wrong": "WRONG, breaks that are classified correctly",
            "contradicted": "WRONG, images said to be robust, which their own adversarial image breaks",
            "undecided": "Unverified, classified correctly by no more than rounding",
            "missing": "Unverified, breaks without an adversarial image",
        }
        yield from (f"{text}: {getattr(self, name)}." for name, text in said.items() if getattr(self, name))


@dataclass(frozen=True)
class Survivors:
    """What another attack did to a sample of the images that one attack left classified correctly.

    Attributes:
        attack, by: the strongest attack of the result, and the one that came after.
        n, left: how many images were attacked, and how many of them were left.
        sampled, fell: how many of those were drawn, and how many the other attack broke.
    """

    attack: str
    by: str
    n: int
    left: int
    sampled: int
    fell: int

    @property
    def lower(self) -> tuple[float, float, float]:
        """By how much the robust accuracy is lower, a fraction of `n`, and the ends of its 95 % Wilson interval."""
        share = self.fell / self.sampled
        ends = (share, share) if self.sampled == self.left else wilson(self.fell, self.sampled)
        lower, low, high = (part * self.left / self.n for part in (share, *ends))
        return lower, low, high

    def __str__(self) -> str:
        lower, low, high = self.lower
        said = f"{self.fell} of {self.sampled} survivors of {self.attack} fell to {self.by}"
        interval = f"95 % interval {low:.1%} to {high:.1%}"
        return f"{said}: this lowers its accuracy on all images by about {lower:.1%} ({interval})."


@dataclass(frozen=True)
class Verification:
    """The verification of a published result.

    Attributes:
        clean: `None` where the result has no clean accuracy.
        breaks: by attack.
        survivors: `None` where nothing was attacked.
    """

    model: str
    data: str
    threat: str
    clean: Clean | None
    breaks: dict[str, Breaks]
    survivors: Survivors | None

    @property
    def ok(self) -> bool:
        """Whether no verdict is wrong. One that cannot be checked is not wrong, nor is one on a survivor that fell."""
        return all(part.ok for part in self._parts().values())

    @property
    def unverified(self) -> int:
        """Verdicts that could be neither confirmed nor refuted."""
        clean = self.clean.undecided if self.clean else 0
        return clean + sum(one.missing + one.undecided for one in self.breaks.values())

    def lines(self) -> list[str]:
        """Sentences for a terminal, the conclusion last."""
        found = [f"{name}: {line}" for name, part in self._parts().items() for line in part.lines()]
        survivors = [str(self.survivors)] if self.survivors else []
        return [f"{self.model} on {self.data}, {self.threat}", *found, *survivors, self._conclusion()]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _parts(self) -> dict[str, Clean | Breaks]:
        return ({"clean": self.clean} if self.clean else {}) | self.breaks

    def _conclusion(self) -> str:
        if not self.ok:
            return "The result is wrong: see WRONG above."
        if self.unverified:
            return f"No verdict is wrong, but {self.unverified} are unverified."
        return "Every counted verdict is confirmed."
