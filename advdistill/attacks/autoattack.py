"""The official AutoAttack, from pyautoattack; its breaks count only if our own forward pass confirms them."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.packages import require
from .._internal.rng import Rng
from ..threat import Threat
from .base import Attack, Outcome, Report, inside

__all__ = ["AutoAttack", "LibraryAttack"]

# the margin of targeted APGD requires four logits, the untargeted margin three
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
WITH_3_CLASSES = ("apgd-ce", "apgd-dlr", "fab-t", "square")
WITH_2_CLASSES = ("apgd-ce", "fab-t", "square")  # cross-entropy and margin rank x' alike
BY = {"clean": 0, "apgd-ce": 1, "apgd-t": 2, "fab-t": 3, "square": 4, "none": 5, "apgd-dlr": 6}  # of the note `by`


@dataclass(frozen=True)
class LibraryAttack(Attack):
    """Attacks of pyautoattack, each on images left by the previous one; our own forward pass confirms every break."""

    threat: Threat
    climbs = False  # Square needs no gradient

    def check(self) -> None:
        """Raise ImportError if pyautoattack is missing."""
        _library()

    def stays_inside(self, threat: Threat) -> bool:
        return self.threat == threat

    def names(self, classes: int) -> tuple[str, ...]:
        """Return the library's attacks to run, in order."""
        raise NotImplementedError

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        return self.run(model, x, y, seed=int(rng.key[0]))[0]

    def outcome(
        self, model: nn.Module, x: Tensor, y: Tensor, *, attacked: nn.Module | None, rng: Rng, report: Report
    ) -> Outcome:
        x_adv, correct = self.run(model, x, y, attacked=attacked, seed=int(rng.key[0]), report=report)
        return Outcome(x_adv, list(correct.values())[-1])

    def run(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        attacked: nn.Module | None = None,
        seed: int = 0,
        report: Report | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Attack every image of one batch; torch's global generators are restored.

        An image counts as broken only if, in our own forward pass, x' is misclassified, in [0, 1], and inside the
        threat model up to 1e-6.

        Args:
            model: in eval mode, maps images to logits `[B, K]`.
            x: clean images `[B, C, H, W]` in [0, 1], on the model's device.
            y: labels `[B]`.
            attacked: the network that the library attacks, `None` for the model. If it is a faster copy (`Frozen`), the
                model classifies the x' found; images that the copy misclassifies when clean are attacked on the model.
            seed: the library is seeded with this number again for every attack and batch.
            report: receives the library's warnings and, if there are several attacks, a line after each.

        Returns:
            x' if an attack succeeded, else x; and by name, after `clean` and each attack, which images are still
            classified correctly, `[B]` booleans.

        Raises:
            ImportError: see `check`.
        """
        self.check()
        report, x_adv = report or (lambda line: None), x.clone()
        classes = model(x[:1]).shape[1]
        names = self.names(classes) if self.threat.eps else ()
        left = ~self._broken(model, x, x, y)
        correct = {"clean": left}
        groups = [
            (self._build(network, classes, seed, x.device), members)
            for network, members in self._groups(model, attacked, x, y)
        ]
        with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"), _warnings(report):
            for name in names:
                left = left.clone()
                for library, members in groups:
                    alive = (left & members).nonzero()[:, 0]
                    if not len(alive):
                        continue
                    found = _run(library, name, x[alive], y[alive])
                    broken = self._broken(model, found, x[alive], y[alive])
                    x_adv[alive[broken]] = found[broken]
                    left[alive[broken]] = False
                correct[name] = left
                if len(names) > 1:
                    report(f"autoattack, {name}: {left.sum()} of {len(x)} images still classified correctly")
        return x_adv, correct

    def _groups(
        self, model: nn.Module, attacked: nn.Module | None, x: Tensor, y: Tensor
    ) -> list[tuple[nn.Module, Tensor]]:
        """Return which network is attacked for which images: the library skips those that its network misclassifies."""
        if attacked is None:
            return [(model, torch.ones_like(y, dtype=torch.bool))]
        wrong = self._broken(attacked, x, x, y)
        return [(attacked, ~wrong), (model, wrong)]

    def _build(self, model: nn.Module, classes: int, seed: int, device: torch.device) -> Any:
        library = _library()(model, norm=self.threat.name, eps=self.threat.eps, seed=seed, device=device)
        library.verbose = False
        library.apgd_targeted.n_target_classes = library.fab.n_target_classes = min(9, classes - 1)
        return library

    def _broken(self, model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return inside(self.threat, x_adv, x) & (model(x_adv).argmax(1) != y)


@dataclass(frozen=True)
class AutoAttack(LibraryAttack):
    """Standard AutoAttack: APGD-CE, targeted APGD, targeted FAB and Square, each on images left by the previous one.

    With fewer than 4 classes there is no targeted APGD; with 3, APGD on the untargeted margin takes its place.

    Notes on each image: `by`, the attack that broke it (`BY`), and `distance` of x' from x in the threat's norm.

    Reference: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks. ICML 2020, arXiv:2003.01690.
    """

    name = "autoattack"
    notes = MappingProxyType({"by": torch.uint8, "distance": torch.float32})

    def describe(self, classes: int) -> str:
        named = "standard" if classes > 3 else f"for {classes} classes ({', '.join(self.names(classes))})"
        return f"AutoAttack {named}, {self.threat}"

    def names(self, classes: int) -> tuple[str, ...]:
        return {2: WITH_2_CLASSES, 3: WITH_3_CLASSES}.get(classes, STANDARD)

    def outcome(
        self, model: nn.Module, x: Tensor, y: Tensor, *, attacked: nn.Module | None, rng: Rng, report: Report
    ) -> Outcome:
        x_adv, correct = self.run(model, x, y, attacked=attacked, seed=int(rng.key[0]), report=report)
        by = torch.full_like(y, BY["none"], dtype=torch.uint8)
        for name, left in reversed(correct.items()):
            by[~left] = BY[name]
        return Outcome(x_adv, list(correct.values())[-1], {"by": by, "distance": self.threat.distance(x_adv, x)})


def _run(library: Any, name: str, x: Tensor, y: Tensor) -> Tensor:
    """Run one of the library's attacks; its batches and draws are the same alone or after other attacks."""
    library.attacks_to_run = [name]
    tracer = sys.gettrace()  # of a debugger or coverage: the library counts calls by a trace, then removes any trace
    try:
        return library.run_standard_evaluation(x, y, batch_size=len(x))[0]
    finally:
        sys.settrace(tracer)


def _library() -> Any:
    return require("pyautoattack", "autoattack", "eval").AutoAttack


class _Once(logging.Handler):
    """Reports only the first warning of each kind: zero gradients, for example, may occur in every batch."""

    def __init__(self, report: Report):
        super().__init__(logging.WARNING)
        self.report = report
        self.kinds: set[str | None] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.funcName not in self.kinds:
            self.report(f"autoattack warns: {record.getMessage()}")
        self.kinds.add(record.funcName)


@contextmanager
def _warnings(report: Report) -> Iterator[None]:
    logger, handler = logging.getLogger("auto-attack"), _Once(report)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
