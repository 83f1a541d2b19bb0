"""Published teachers by name, as RobustBench names them: which network, which figures, where the weights are."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from .._internal.cache import cache as kept
from .._internal.cache import writable
from .._internal.messages import unknown
from . import drive
from .robustbench import APACHE, EPS, NORMALISED, STATISTICS, TABLES
from .zoo import create, normalises


@dataclass(frozen=True)
class Teacher:
    """A checkpoint on RobustBench's leaderboard; `clean` and `autoattack` are its percentages there."""

    dataset: str
    name: str
    arch: str
    clean: float
    autoattack: float
    source: str

    @property
    def reference(self) -> str:
        return f"robustbench:{self.name if self.dataset == 'cifar10' else f'{self.dataset}/Linf/{self.name}'}"

    @property
    def num_classes(self) -> int:
        return {"cifar10": 10, "cifar100": 100}[self.dataset]

    @property
    def mean(self) -> tuple[float, ...] | None:
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...] | None:
        return self._statistics[1]

    @property
    def _statistics(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        own = NORMALISED.get((self.dataset, self.name))
        return own or (STATISTICS[self.dataset] if normalises(self.arch) else (None, None))

    @property
    def eps(self) -> str:
        return EPS.get(self.name, "8/255")

    @property
    def licence(self) -> str:
        return "Apache-2.0" if self.name.startswith(APACHE) else "MIT"

    @property
    def page(self) -> str:
        return f"https://drive.google.com/file/d/{self.source}/view"


def _read(dataset: str, line: str) -> Teacher:
    name, arch, clean, autoattack, source = line.split()
    return Teacher(dataset, name, arch, float(clean), float(autoattack), source)


_LISTED = [_read(dataset, line) for dataset, table in TABLES.items() for line in table.strip().splitlines()]
TEACHERS = {(teacher.dataset, teacher.name): teacher for teacher in _LISTED}


def find(name: str) -> Teacher:
    """The teacher `NAME` (CIFAR-10, Linf) or `DATASET/Linf/NAME`. Raises ValueError for one that is not listed."""
    place, _, short = name.rpartition("/")
    dataset, _, threat = (place or "cifar10/Linf").partition("/")
    if dataset not in TABLES or threat != "Linf":
        known = " and ".join(f"{known}/Linf" for known in TABLES)
        raise ValueError(f"No teachers of {place} are known, only of {known}; "
                         f"write for example {TEACHERS['cifar100', 'Wang2023Better_WRN-28-10'].reference}.")
    if (dataset, short) not in TEACHERS:
        raise unknown(f"{dataset}/Linf teacher", short, (known for of, known in TEACHERS if of == dataset))
    return TEACHERS[dataset, short]


def fetch(teacher: Teacher) -> Path:
    """Its checkpoint in the cache: `$ADVDISTILL_MODELS`, else `~/.cache/advdistill/models`; downloaded once.

    A file that was put there by hand is taken as it is; of a download the sha256 is kept beside it, and checked.

    Raises FileNotFoundError saying what to fetch and where to put it, OSError where it cannot be put there,
    ValueError if the file changed since.
    """
    path = kept("models") / teacher.dataset / "Linf" / f"{teacher.name}.pt"
    if not path.exists():  # one that is there may lie where nobody can write
        writable(path.parent, "models")
        with FileLock(f"{path}.lock"):  # the processes of a run all load their teacher
            if not path.exists():
                _download(teacher, path)
    drive.check(path)
    return path


def describe() -> list[dict[str, Any]]:
    """One `{name, dataset, clean, autoattack, eps, architecture, parameters, licence}` per teacher."""
    return [
        {
            "name": teacher.name,
            "dataset": teacher.dataset,
            "clean": teacher.clean,
            "autoattack": teacher.autoattack,
            "eps": teacher.eps,
            "architecture": teacher.arch,
            "parameters": _parameters(teacher.arch, teacher.num_classes),
            "licence": teacher.licence,
        }
        for teacher in TEACHERS.values()
    ]


def _download(teacher: Teacher, path: Path) -> None:
    try:
        drive.download(teacher.source, path)
    except ConnectionError as error:
        raise FileNotFoundError(f"{teacher.reference} is not here and cannot be downloaded ({error}); fetch "
                                f"{teacher.page} and put it at {path}, or write {teacher.reference}?file=PATH."
                                ) from error  # fmt: skip


@cache
def _parameters(arch: str, num_classes: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create(arch, num_classes).parameters())
