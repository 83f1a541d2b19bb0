"""Signs of gradient masking that require attacks on the model."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from ...attacks.pgd import PGD
from ...attacks.square import Square
from ...attacks.suites import Clean, PGDAttack, pgd_20
from ...losses import margin
from ...results.masking import Finding, Status, status_of_share
from ...results.result import wilson
from ...threat import Linf, Threat
from ..context import Context
from ..networks import ITSELF, AttackedNetwork
from .signs import BLACK_BOX, LONGER, LOSSES, UNBOUNDED

__all__ = ["from_attacks", "pgd_100"]

MULTIPLES = (2, 4, 8)  # of eps


def pgd_100(threat: Threat) -> PGDAttack:
    """Return PGD-100 with a smaller step size than PGD-20."""
    return PGDAttack("pgd-100", PGD(100, threat.eps / 10, threat, "uniform"))


def from_attacks(context: Context, surrogate: AttackedNetwork | None) -> Iterator[Finding]:
    """Run PGD-20 on the whole split, and yield findings that compare it with other attacks."""
    attack = pgd_20(context.threat)
    short = context.correct(attack)
    yield growing_eps(context, short)
    if not context.threat.eps:
        names = ("longer", "losses", "black_box", "transfer")
        yield from (Finding(name, "skip", {}, "eps is 0, there is nothing to attack.") for name in names)
        return
    long, by_margin = short, context.correct(replace(attack, loss=margin))
    for again in (1, 2):  # twice, on the images that PGD-20 left
        long = context.correct(pgd_100(context.threat), among=long, again=again)
    yield longer(short, long)
    yield losses(short, by_margin)
    yield black_box(context, long & by_margin)
    yield transfer(context, long & by_margin, surrogate)


def growing_eps(context: Context, short: Tensor) -> Finding:
    """Check that accuracy falls to zero as eps grows; without a bound, x' is any image in [0, 1]."""
    counts = {name: int(flags.sum()) for name, flags in _by_eps(context, short).items()}
    n, chance = len(short), 1 / context.split.num_classes
    said = ", ".join(f"{name} {count / n:.1%}" for name, count in counts.items()) + f" (chance {chance:.1%})"
    figures = {name: count / n for name, count in counts.items()} | {"chance": chance}
    status = status_of_share(counts["unbounded"], n, UNBOUNDED, chance)
    advice = "an attack without a bound must succeed"
    if wilson(counts["clean"], n)[0] <= chance:
        status, advice = "warn", "the model hardly does better than a guess, there is nothing to attack"
    elif status == "pass" and _rises([wilson(count, n) for name, count in counts.items() if name != "clean"]):
        status, advice = "warn", "an attack must not do worse with a larger eps"
    return Finding.of("growing_eps", status, figures, said, advice)


def _by_eps(context: Context, short: Tensor) -> dict[str, Tensor]:
    threat = context.threat
    radii = {f"eps x {k}": k * threat.eps for k in MULTIPLES if 0 < k * threat.eps < threat.limit}
    larger = {name: context.correct(pgd_20(replace(threat, eps=eps))) for name, eps in radii.items()}
    # starts near x: noise over the whole range would hide x, and an error on noise is not a successful attack
    unbounded = PGDAttack("unbounded", PGD(20, 1 / 4, Linf(1.0), "gaussian"))
    return {"clean": context.correct(Clean()), "eps x 1": short} | larger | {"unbounded": context.correct(unbounded)}


def _rises(intervals: list[tuple[float, float]]) -> bool:
    return any(later[0] > earlier[1] for earlier, later in zip(intervals, intervals[1:], strict=False))


def longer(short: Tensor, long: Tensor) -> Finding:
    """Check that more steps and a restart do not break many more images."""
    counts, n = {"pgd_20": int(short.sum()), "pgd_100": int(long.sum())}, len(short)
    said = "PGD-20 leaves {pgd_20:.1%}, PGD-100 with a restart more {pgd_100:.1%}"
    status = status_of_share(counts["pgd_20"] - counts["pgd_100"], n, *LONGER)
    return _compared("longer", status, counts, n, said, "PGD-20 is not to be trusted here")


def losses(by_ce: Tensor, by_margin: Tensor) -> Finding:
    """Check that PGD-20 breaks about as many images with the cross-entropy as with the margin."""
    counts, n = {"cross_entropy": int(by_ce.sum()), "margin": int(by_margin.sum())}, len(by_ce)
    said = "PGD-20 on the cross-entropy leaves {cross_entropy:.1%}, on the margin {margin:.1%}"
    status = status_of_share(abs(counts["cross_entropy"] - counts["margin"]), n, LOSSES)
    return _compared("losses", status, counts, n, said, "one of them misleads the attack")


def black_box(context: Context, left: Tensor) -> Finding:
    """Check that Square, which uses logits only, breaks next to none of the images that white-box attacks left."""
    square = Square(context.threat)
    try:
        square.check()
    except ImportError:
        return Finding("black_box", "skip", {}, 'Square is in pyautoattack; pip install "advdistill[eval]" brings it.')
    correct = replace(context, attacked=ITSELF).correct(square, among=left)
    return _beyond("black_box", left, correct, f"Square with {square.queries} queries")


def transfer(context: Context, left: Tensor, surrogate: AttackedNetwork | None) -> Finding:
    """Check that PGD-20 on the surrogate breaks next to none of the images that white-box attacks left."""
    if surrogate is None:
        return Finding("transfer", "skip", {}, "no surrogate was given.")
    correct = replace(context, attacked=surrogate).correct(pgd_20(context.threat), among=left)
    return _beyond("transfer", left, correct, "PGD-20 on the surrogate")


def _beyond(name: str, left: Tensor, correct: Tensor, attack: str) -> Finding:
    counts, n = {"white_box": int(left.sum()), "broken": int((left & ~correct).sum())}, len(left)
    said = f"white-box attacks leave {{white_box:.1%}}, {attack} breaks {{broken:.1%}} more"
    status = status_of_share(counts["broken"], n, *BLACK_BOX)
    return _compared(name, status, counts, n, said, "the model's gradients mislead")


def _compared(name: str, status: Status, counts: dict[str, int], n: int, said: str, advice: str) -> Finding:
    figures = {key: count / n for key, count in counts.items()}
    return Finding.of(name, status, figures, said.format(**figures), advice)
