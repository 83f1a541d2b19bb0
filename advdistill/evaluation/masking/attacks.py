"""Where attacks meet the model that is judged."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...attacks import PGD
from ...attacks.square import Square
from ...attacks.suites import pgd
from ...data import Split
from ...data.batches import in_order
from ...losses import Loss, cross_entropy, margin
from ...results.masking import Finding, Status, above
from ...results.result import wilson
from ...threat import Linf, Threat
from ..measure import correct
from ..networks import Judged
from .passes import Climbed
from .signs import BLACK_BOX, LONGER, LOSSES, UNBOUNDED

__all__ = ["Field", "from_attacks"]

@dataclass(frozen=True)
class Field:
    """A model, the images it is attacked on, and the threat model."""

    model: Judged
    split: Split
    threat: Threat
    batch_size: int
    seed: int
    device: torch.device | str

    def standing(
        self,
        attack: PGD | None,
        loss: Loss = cross_entropy,
        *,
        among: Tensor | None = None,
        searched: nn.Module | None = None,
        again: int = 0,
    ) -> Tensor:
        """Which images are classified correctly, `[N]` booleans on the CPU.

        Args:
            among: only these are attacked, `[N]`, the others count as fallen; `None` for all.
            searched: the model that the attack climbs, `None` for the judged one.
            again: another number makes other draws.
        """
        flags = torch.ones(len(self.split), dtype=torch.bool) if among is None else among.clone()
        if flags.any():
            part, climbed = self.split.take(flags.nonzero()[:, 0]), Climbed(searched or self.model)
            options: dict[str, Any] = {"batch_size": self.batch_size, "seed": self.seed + again, "device": self.device}
            flags[flags.clone()] = correct(self.model, part, attack, loss, searched=climbed, **options)
        return flags


MULTIPLES = (2, 4, 8)  # of eps


def from_attacks(field: Field, surrogate: Judged | None) -> Iterator[Finding]:
    """PGD-20 on the whole split, what else leaves its images standing, and what does not."""
    doubted = pgd(20, field.threat)
    short = field.standing(doubted)
    yield growing_eps(field, short)
    if not field.threat.eps:
        names = ("longer", "losses", "black_box", "transfer")
        yield from (Finding(name, "skip", {}, "eps is 0, there is nothing to attack.") for name in names)
        return
    long, by_margin = _pgd_100(field, short), field.standing(doubted, margin)
    yield longer(short, long)
    yield losses(short, by_margin)
    yield black_box(field, long & by_margin)
    yield transfer(field, long & by_margin, surrogate)


def growing_eps(field: Field, short: Tensor) -> Finding:
    """Accuracy falls to zero as eps grows; without a bound, x' is any image in [0, 1]."""
    counts = {name: int(flags.sum()) for name, flags in _by_eps(field, short).items()}
    n, chance = len(short), 1 / field.split.num_classes
    said = ", ".join(f"{name} {count / n:.1%}" for name, count in counts.items()) + f" (chance {chance:.1%})"
    figures = {name: count / n for name, count in counts.items()} | {"chance": chance}
    status, advice = above(counts["unbounded"], n, UNBOUNDED, chance), "an attack without a bound must succeed"
    if wilson(counts["clean"], n)[0] <= chance:
        status, advice = "warn", "the model hardly does better than a guess, there is nothing to attack"
    elif status == "pass" and _rises([wilson(count, n) for name, count in counts.items() if name != "clean"]):
        status, advice = "warn", "an attack must not do worse with a larger eps"
    return Finding("growing_eps", status, figures, f"{said}." if status == "pass" else f"{said}: {advice}.")


def _by_eps(field: Field, short: Tensor) -> dict[str, Tensor]:
    radii = {f"eps x {k}": k * field.threat.eps for k in MULTIPLES if 0 < k * field.threat.eps < field.threat.limit}
    larger = {name: field.standing(pgd(20, replace(field.threat, eps=eps))) for name, eps in radii.items()}
    # begun beside x: noise over the whole range would hide x, and a model that errs there was not attacked
    unbounded = PGD(20, 1 / 4, Linf(1.0), "gaussian")
    return {"clean": field.standing(None), "eps x 1": short} | larger | {"unbounded": field.standing(unbounded)}


def _rises(intervals: list[tuple[float, float]]) -> bool:
    return any(later[0] > earlier[1] for earlier, later in zip(intervals, intervals[1:], strict=False))


def longer(short: Tensor, long: Tensor) -> Finding:
    """More steps and a restart do not help much."""
    counts, n = {"pgd_20": int(short.sum()), "pgd_100": int(long.sum())}, len(short)
    said = "PGD-20 leaves {pgd_20:.1%}, PGD-100 with a restart more {pgd_100:.1%}"
    status = above(counts["pgd_20"] - counts["pgd_100"], n, *LONGER)
    return _compared("longer", status, counts, n, said, "PGD-20 is not to be trusted here")


def losses(by_ce: Tensor, by_margin: Tensor) -> Finding:
    """Cross-entropy and margin break about as many."""
    counts, n = {"cross_entropy": int(by_ce.sum()), "margin": int(by_margin.sum())}, len(by_ce)
    said = "PGD-20 on the cross-entropy leaves {cross_entropy:.1%}, on the margin {margin:.1%}"
    status = above(abs(counts["cross_entropy"] - counts["margin"]), n, LOSSES)
    return _compared("losses", status, counts, n, said, "one of them misleads the attack")


def black_box(field: Field, left: Tensor) -> Finding:
    """Square, which asks for logits only, breaks none of what the white-box attacks left."""
    square = Square(field.threat)
    try:
        square.check()
    except ImportError:
        return Finding("black_box", "skip", {}, 'Square is in pyautoattack; pip install "advdistill[eval]" brings it.')
    return _beyond("black_box", left, _blind(field, square, left), f"Square with {square.queries} queries")


def transfer(field: Field, left: Tensor, surrogate: Judged | None) -> Finding:
    """Nor does PGD-20 on another model."""
    if surrogate is None:
        return Finding("transfer", "skip", {}, "no surrogate was given.")
    standing = field.standing(pgd(20, field.threat), among=left, searched=surrogate)
    return _beyond("transfer", left, standing, "PGD-20 on the surrogate")


def _blind(field: Field, square: Square, left: Tensor) -> Tensor:
    standing, among = left.clone(), left.nonzero()[:, 0]
    options: dict[str, Any] = {"seed": field.seed, "batch_size": field.batch_size, "device": field.device}
    for start, x, y in in_order(field.split.take(among), field.batch_size, field.device):
        standing[among[start : start + len(y)]] = square(field.model, x, y, **options)[1].cpu()
    return standing


def _beyond(name: str, left: Tensor, standing: Tensor, attack: str) -> Finding:
    counts, n = {"white_box": int(left.sum()), "broken": int((left & ~standing).sum())}, len(left)
    said = f"white-box attacks leave {{white_box:.1%}}, {attack} breaks {{broken:.1%}} more"
    return _compared(name, above(counts["broken"], n, *BLACK_BOX), counts, n, said, "the model's gradients mislead")


def _compared(name: str, status: Status, counts: dict[str, int], n: int, said: str, advice: str) -> Finding:
    figures = {key: count / n for key, count in counts.items()}
    said = said.format(**figures)
    return Finding(name, status, figures, f"{said}." if status == "pass" else f"{said}: {advice}.")


def _pgd_100(field: Field, short: Tensor) -> Tensor:
    """PGD-100 with a smaller step, twice, on what PGD-20 left."""
    smaller, standing = PGD(100, field.threat.eps / 10, field.threat, "uniform"), short
    for again in (1, 2):
        standing = field.standing(smaller, among=standing, again=again)
    return standing
