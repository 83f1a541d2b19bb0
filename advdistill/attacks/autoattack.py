"""The official AutoAttack, through pyautoattack, judged by ourselves."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.optional import require
from ..threat import Threat

__all__ = ["AutoAttack", "FromLibrary"]

Report = Callable[[str], None]

# the margin that targeted APGD climbs takes four logits, the untargeted one three
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
WITH_3_CLASSES = ("apgd-ce", "apgd-dlr", "fab-t", "square")
WITH_2_CLASSES = ("apgd-ce", "fab-t", "square")  # where cross-entropy and margin order x' alike
TOLERANCE = 1e-6  # rounding of x' - x in fp32


@dataclass(frozen=True)
class FromLibrary:
    """Attacks of pyautoattack, each on what the former left, whose every break is judged by our own forward pass."""

    threat: Threat

    def check(self) -> None:
        """Raise ImportError where pyautoattack is missing."""
        _library()

    def search(
        self, names: Iterable[str], model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor,
        searched: nn.Module | None, seed: int, batch_size: int, device: torch.device | str, report: Report,
    ) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
        """`clean` and each named attack, with which images `[N]` stand after it; `x_adv` takes the x' that broke one.

        Arguments as in `AutoAttack`.
        """
        self.check()
        classes = model(x[:1].to(device)).shape[1]
        standing = ~self._broken(model, x, x, y, batch_size, device)
        yield "clean", standing
        groups = [
            (self._build(network, classes, seed, device), members)
            for network, members in self._groups(model, searched, x, y, batch_size, device)
        ]
        with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"), _warnings(report):
            for name in names if self.threat.eps else ():
                standing = standing.clone()
                for library, members in groups:
                    alive = (standing & members).nonzero()[:, 0]
                    if not len(alive):
                        continue
                    found = _run(library, name, x[alive], y[alive], batch_size)
                    broken = self._broken(model, found, x[alive], y[alive], batch_size, device)
                    x_adv[alive[broken]] = found[broken]
                    standing[alive[broken]] = False
                yield name, standing

    def _groups(
        self, model: nn.Module, searched: nn.Module | None, x: Tensor, y: Tensor, batch_size: int,
        device: torch.device | str,
    ) -> list[tuple[nn.Module, Tensor]]:  # fmt: skip
        """Which network is attacked for which images: the library passes by those that its network gets wrong."""
        if searched is None:
            return [(model, torch.ones_like(y, dtype=torch.bool))]
        wrong = self._broken(searched, x, x, y, batch_size, device)
        return [(searched, ~wrong), (model, wrong)]

    def _build(self, model: nn.Module, classes: int, seed: int, device: torch.device | str) -> Any:
        library = _library()(model, norm=self.threat.name, eps=self.threat.eps, seed=seed, device=device)
        library.verbose = False
        library.apgd_targeted.n_target_classes = library.fab.n_target_classes = min(9, classes - 1)
        return library

    def _broken(
        self, model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, batch_size: int, device: torch.device | str
    ) -> Tensor:
        inside = (self.threat.distance(x_adv, x) <= self.threat.eps + TOLERANCE) & _in_range(x_adv)
        with torch.no_grad():
            predicted = [model(part.to(device)).argmax(1).to(y.device) for part in x_adv.split(batch_size)]
        return inside & (torch.cat(predicted) != y)


@dataclass(frozen=True)
class AutoAttack(FromLibrary):
    """AutoAttack, standard version: APGD-CE, targeted APGD, targeted FAB and Square, each on what the former left.

    With fewer than 4 classes there is no targeted APGD; with 3, APGD on the untargeted margin takes its place.

    Reference: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks. ICML 2020, arXiv:2003.01690.
    """

    def describe(self, classes: int) -> str:
        """The settings, as they are printed with results."""
        named = "standard" if classes > 3 else f"for {classes} classes ({', '.join(self.names(classes))})"
        return f"AutoAttack {named}, {self.threat}"

    def names(self, classes: int) -> tuple[str, ...]:
        """The attacks it is made of, in their order."""
        return {2: WITH_2_CLASSES, 3: WITH_3_CLASSES}.get(classes, STANDARD)

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        searched: nn.Module | None = None,
        seed: int = 0,
        batch_size: int = 256,
        device: torch.device | str = "cpu",
        report: Report | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Attack every image; torch's global generators are left as they were.

        An image counts as broken only if, in our own forward pass, x' is misclassified, in [0, 1], and inside the
        threat model up to 1e-6.

        Args:
            model: on `device`, in eval mode, images to logits `[B, K]`.
            x: clean images `[N, C, H, W]` in [0, 1], on any device.
            y: labels `[N]`, beside x.
            searched: what the library attacks, `None` for the model; a faster copy (`Frozen`) finds what the model
                then judges. Where the copy errs on x itself, the model is attacked.
            seed: the library starts from it anew for every attack and batch.
            report: receives a line after each attack, and the library's warnings.

        Returns:
            x' where an attack succeeded, else x; and after `clean` and each attack, which images still stand, `[N]`.

        Raises:
            ImportError: see `check`.
        """
        report, x_adv = report or (lambda line: None), x.clone()
        standing: dict[str, Tensor] = {}
        names = self.names(model(x[:1].to(device)).shape[1])
        for name, left in self.search(names, model, x, y, x_adv, searched, seed, batch_size, device, report):
            standing[name] = left
            if name != "clean":
                report(f"autoattack, {name}: {left.sum()} of {len(x)} images stand")
        return x_adv, standing


def _run(library: Any, name: str, x: Tensor, y: Tensor, batch_size: int) -> Tensor:
    """One of the library's attacks; alone or after the others, it makes the same batches and the same draws."""
    library.attacks_to_run = [name]
    return library.run_standard_evaluation(x, y, batch_size=batch_size)[0]


def _in_range(x: Tensor) -> Tensor:
    return ((x >= 0) & (x <= 1)).flatten(1).all(1)


def _library() -> Any:
    return require("pyautoattack", "autoattack", "eval").AutoAttack


class _Once(logging.Handler):
    """Hands on the first warning of each kind: zero gradients alone may be found in every batch."""

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
