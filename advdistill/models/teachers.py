"""Published teachers: RobustBench's Linf checkpoints of networks in the zoo, with their accuracies and weights.

The table is that of robustbench 1.1.1, and a test checks it against that package.
Reference: Croce et al., RobustBench: a standardized adversarial robustness benchmark. NeurIPS 2021 Datasets and
Benchmarks, arXiv:2010.09670.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from .._internal.cache import cache as cache_folder
from .._internal.cache import writable
from .._internal.download import Remote, check_recorded, download
from .._internal.messages import unknown
from .zoo import count_parameters, normalises

__all__ = ["TEACHERS", "Teacher", "describe", "fetch", "find"]

URL = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"

# name, network of our zoo, clean and AutoAttack accuracy on the leaderboard in percent, file ID on Google Drive
TABLES = {
    "cifar10": """
Bartoldson2024Adversarial_WRN-94-16   dm_wide_resnet-94-16     93.68 73.71 1g6o9H1b6vjoBi1USdCBt64C8B8LPiioX
Bartoldson2024Adversarial_WRN-82-8    dm_wide_resnet-82-8      93.11 71.59 1--jl8qJh624SFqFffvg1IkYR-fZGA2Sr
Wang2023Better_WRN-70-16              dm_wide_resnet-70-16     93.25 70.69 1-RF7ZSS-PAh6bfQcuqx4lh9bc9BUGnap
Cui2023Decoupled_WRN-28-10            dm_wide_resnet-28-10     92.16 67.73 1-AaTrYt23WJFR22hXgBd-i6kjpsz6Hf2
Wang2023Better_WRN-28-10              dm_wide_resnet-28-10     92.44 67.31 1-6MYKJdECDVGaWjj6GgqvaT95BGKhUvI
Rebuffi2021Fixing_70_16_cutmix_extra  dm_wide_resnet-70-16     92.23 66.56 1qKDTp6IJ1BUXZaRtbYuo_t0tuDl_4mLg
Gowal2021Improving_70_16_ddpm_100m    dm_wide_resnet-70-16     88.74 66.10 10qBoDG_NomJBrRFeTsSwEcJF1GA-sjC4
Gowal2020Uncovering_70_16_extra       dm_wide_resnet-70-16     91.10 65.87 1GxryYj_Or-VCDca0wgiFLz4ssXSZXQoJ
Rebuffi2021Fixing_106_16_cutmix_ddpm  dm_wide_resnet-106-16    88.50 64.58 1-4qnkveIkeWoGdF72kpEFHETiY3y4_tF
Rebuffi2021Fixing_70_16_cutmix_ddpm   dm_wide_resnet-70-16     88.54 64.20 1-8CWRT-OFWyrz4T4s0I2mbFjPg8K_MUi
Xu2023Exploring_WRN-28-10             dm_wide_resnet-28-10     93.69 63.89 1k1uJI13ft0h0dfzuEihVpBvjBXwFRH2o
Gowal2021Improving_28_10_ddpm_100m    dm_wide_resnet-28-10     87.50 63.38 12L8YE6VBgUDKyW6GMSNefSYj2gg4LEKx
Pang2022Robustness_WRN70_16           dm_wide_resnet-70-16     89.01 63.35 1uQZYUuUiL9BzaQUeXLhjr_RhoyFRrHe3
Rade2021Helper_extra                  dm_wide_resnet-34-10     91.47 62.83 1GhAp-0C3ONRy9BxIe0J9vKc082vHvR7t
Gowal2020Uncovering_28_10_extra       dm_wide_resnet-28-10     89.48 62.76 1MBAWGxiZxKt-GfqEqtLcXcd3tAxPhvV2
Pang2022Robustness_WRN28_10           dm_wide_resnet-28-10     88.61 61.04 16ChNkterCp17BXv-xxqpfedb4u2_CjjS
Rade2021Helper_ddpm                   dm_wide_resnet-28-10     88.16 60.97 1AOF6LxnwgS5fCz_lVLYqs_wnUYuv6O7z
Rebuffi2021Fixing_28_10_cutmix_ddpm   dm_wide_resnet-28-10     87.33 60.73 1-0EChXbc6pOvx26O17av263bCeqIAz6s
Sehwag2021Proxy                       wide_resnet-34-10        86.68 60.27 1QFA5fPMj2Qw4aYNG33PkFqiv_RTDWvzm
Gowal2021Improving_R18_ddpm_100m      dm_preact_resnet18       87.35 58.50 1-0EuCJashqSXEkkd1DOzFA4tH8KL2kim
Addepalli2022Efficient_WRN_34_10      wide_resnet-34-10        88.71 57.81 1--dVDtZhAk4D2zMtTDwIGnImuCGxTcBA
Chen2021LTD_WRN34_20                  wide_resnet-34-20        86.03 57.71 1-5JmY9rapuGwCUc2nPvy7Rb_sn_dHhFm
Rade2021Helper_R18_extra              dm_preact_resnet18       89.02 57.67 1hdXk1rPJql2Oa84Kky64fMTQzng5UcTL
Gowal2020Uncovering_70_16             dm_wide_resnet-70-16     85.29 57.14 1DVwKclibqzniE2Ss5_g6BY77ChG8QKzl
Rade2021Helper_R18_ddpm               dm_preact_resnet18       86.86 57.09 1f2yJUo-jxCQNk589frzriv6wPyrQEZdX
Cui2023Decoupled_WRN-34-10            wide_resnet-34-10        85.31 57.09 1-ArD-TugRXUbH3VtM9qnzvby6NvdXNUN
Chen2021LTD_WRN34_10                  wide_resnet-34-10        85.21 56.94 1-0RoQKYvHLNh7hZ71wJjSit1XtrJQo9D
Gowal2020Uncovering_34_20             dm_wide_resnet-34-20     85.64 56.82 1YWvZO1u9_yNLFNC3JYd_TVkvrRSMER1O
Rebuffi2021Fixing_R18_ddpm            dm_preact_resnet18       83.53 56.66 1--dxE66AsgBSUsuK2sXCTrsYUV9B5f95
Sehwag2021Proxy_R18                   resnet18                 84.59 55.54 1-ZgoSlD_AMhtXdnUElilxVXnzK2DcHuu
Rice2020Overfitting                   wide_resnet-34-20        85.34 53.42 1vC_Twazji7lBjeMQvAD9uEQxi9Nx2oG-
Zhang2019Theoretically                wide_resnet_trades-34-10 84.92 53.08 1hPz9QQwyM7QSuWu-ANG_uXR-29xtL8t_
Addepalli2022Efficient_RN18           resnet18                 85.71 52.48 1m5vhdzIUUKhDbsZdOG9z76Eyp6f4xe_f
""",
    "cifar100": """
Wang2023Better_WRN-70-16              dm_wide_resnet-70-16     75.22 42.66 1-yYcT73GP13c0y9HrgtpyB3NAfkGKgjY
Cui2023Decoupled_WRN-28-10            dm_wide_resnet-28-10     73.85 39.18 15BwWdWbNfoarTEWWugicOVkTjh3nXH36
Wang2023Better_WRN-28-10              dm_wide_resnet-28-10     72.58 38.77 1-jOu3wKWyw0XnBCXDGR32xn8Bw9GTJgh
Gowal2020Uncovering_extra             dm_wide_resnet-70-16     69.15 36.88 1LQBdwO2b391mg7VKcP6I0HIOpC6O83gn
Rebuffi2021Fixing_70_16_cutmix_ddpm   dm_wide_resnet-70-16     63.56 34.64 1-GkVLo9QaRjCJl-by67xda1ySVhYxsLV
Pang2022Robustness_WRN70_16           dm_wide_resnet-70-16     65.56 33.05 1F3kn8KIdBVls8QuTWc3BbB83htkQeVQD
Cui2023Decoupled_WRN-34-10_autoaug    wide_resnet-34-10        65.93 32.52 18hjcLa1V3JTNUOshafLvw1ncxL2gu50M
Rebuffi2021Fixing_28_10_cutmix_ddpm   dm_wide_resnet-28-10     62.41 32.06 1-P7cs82Tj6UVx7Coin3tVurVKYwXWA9p
Cui2023Decoupled_WRN-34-10            wide_resnet-34-10        65.76 31.91 1whziIioVu5SGI1fBKyc331IfG_1MgenN
Addepalli2022Efficient_WRN_34_10      wide_resnet-34-10        68.75 31.85 1-3c-iniqNfiwGoGPHC3nSostnG6J9fDt
Sehwag2021Proxy                       wide_resnet-34-10        65.93 31.15 1ejMNF2O4xkSdrjtZt2UXUeim-y9F7Req
Pang2022Robustness_WRN28_10           dm_wide_resnet-28-10     63.66 31.08 1VDDM_j5M4b6sZpt1Nnhkr8FER3kjE33M
Chen2021LTD_WRN34_10                  wide_resnet_trades-34-10 64.07 30.59 1-I4NZyULdEWH46b4EaCTxuuRo4eFXsg_
Gowal2020Uncovering                   dm_wide_resnet-70-16     60.86 30.03 16I86x2Vv_HCRKROC86G4dQKgO3Po5mT3
Rade2021Helper_R18_ddpm               dm_preact_resnet18       61.50 28.88 1-qUvfOjq6x4I8mZynfGtzzCH_nvqS_VQ
Rebuffi2021Fixing_R18_ddpm            dm_preact_resnet18       56.87 28.50 1-Qcph_EXw1SCYhDIl8cwqTQQy0sJKO8N
Addepalli2022Efficient_RN18           resnet18                 65.45 27.67 1-2hnxC7lZOQDqQbum4yPbtRtTND86I5N
Rice2020Overfitting                   preact_resnet18_bn       53.83 18.95 1XXNZn3fZBOkD1aqNL1cvcD8zZDccyAZ6
""",
}

# mean and std that DeepMind's networks expect
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}

# other checkpoints that expect normalised images
NORMALISED = {
    ("cifar10", "Rice2020Overfitting"): STATISTICS["cifar10"],
    ("cifar100", "Rice2020Overfitting"): (
        (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    ),
}

EPS = {"Zhang2019Theoretically": "0.031"}  # of the AutoAttack accuracy; 8/255 for all others

APACHE = ("Gowal2020Uncovering", "Gowal2021Improving", "Rebuffi2021Fixing")  # Apache-2.0; the others are MIT


@dataclass(frozen=True)
class Teacher:
    """A checkpoint on RobustBench's leaderboard; `clean` and `autoattack` are its accuracies there in percent."""

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


def _parse_line(dataset: str, line: str) -> Teacher:
    name, arch, clean, autoattack, source = line.split()
    return Teacher(dataset, name, arch, float(clean), float(autoattack), source)


_LISTED = [_parse_line(dataset, line) for dataset, table in TABLES.items() for line in table.strip().splitlines()]
TEACHERS = {(teacher.dataset, teacher.name): teacher for teacher in _LISTED}


def find(name: str) -> Teacher:
    """Return the teacher `NAME` (CIFAR-10, Linf) or `DATASET/Linf/NAME`. Raises ValueError if it is not listed."""
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
    """Return a teacher's checkpoint in `$ADVDISTILL_MODELS`, else `~/.cache/advdistill/models`; download it once.

    The sha256 of a download is stored next to it and checked later; a file that was put there by hand is not checked.

    Raises FileNotFoundError saying what to fetch and where to put it if the download fails, OSError if the folder is
    not writable, ValueError if the file changed since its download.
    """
    path = cache_folder("models") / teacher.dataset / "Linf" / f"{teacher.name}.pt"
    if not path.exists():  # an existing file may lie in a read-only folder
        writable(path.parent, "models")
        with FileLock(f"{path}.lock"):  # all processes of a run load the teacher
            if not path.exists():
                _download(teacher, path)
    check_recorded(path)
    return path


def describe() -> list[dict[str, Any]]:
    """Return `{name, dataset, clean, autoattack, eps, architecture, parameters, licence}` for each teacher."""
    return [
        {
            "name": teacher.name,
            "dataset": teacher.dataset,
            "clean": teacher.clean,
            "autoattack": teacher.autoattack,
            "eps": teacher.eps,
            "architecture": teacher.arch,
            "parameters": count_parameters(teacher.arch, teacher.num_classes),
            "licence": teacher.licence,
        }
        for teacher in TEACHERS.values()
    ]


def _download(teacher: Teacher, path: Path) -> None:
    try:
        download(Remote(URL.format(teacher.source)), path)
    except ConnectionError as error:
        raise FileNotFoundError(f"{teacher.reference} is not here and cannot be downloaded ({error}); fetch "
                                f"{teacher.page} and put it at {path}, or write {teacher.reference}?file=PATH."
                                ) from error  # fmt: skip
