"""`advdistill evaluate`."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from .._internal.files import make_folder
from .._internal.malloc import keep_freed_memory
from ..attacks.suites import attacks
from ..evaluation import evaluate as measure
from ..results.files import ResultFiles
from .console import is_first, say, show, typed
from .subject import Subject, device, look_closer

__all__ = ["evaluate"]


def evaluate(
    model: str,
    suite: str,
    data: str | None = None,
    folder: str | None = None,
    size: int | None = None,
    eps: str | None = None,
    norm: str | None = None,
    surrogate: str | None = None,
    n: int | None = None,
    batch_size: int = 256,
    accelerated: bool = False,
    keep_images: bool = False,
    masking: bool = False,
    inspect: bool = False,
    seed: int = 0,
    devices: int | str = 1,
    out: Path | None = None,
) -> int:
    keep_freed_memory()
    subject = Subject(model, data, folder, norm, eps, size)
    transferred = any(attack.transferred for attack in attacks(suite, subject.threat))
    other = subject.other(surrogate) if surrogate or transferred or inspect else None
    target = out or (subject.run.result if subject.run else None)
    files = ResultFiles(target) if target else None
    if keep_images and not files:
        raise ValueError("--keep-images needs a place for them: give --out, e.g. --out result.json.")
    if target:
        make_folder(target.parent)
    where, shared = _processes(devices)
    result = measure(
        subject.network, subject.split, subject.threat, suite,
        n=n, batch_size=batch_size, seed=seed, name=subject.name, accelerated=accelerated, device=where,
        surrogate=other if transferred else None, keep=files.unfinished if files else None,
        keep_images=files.unfinished_images if files and keep_images else None,
        shared=shared, report=say if is_first() else None,
    )  # fmt: skip
    result = replace(result, chosen=subject.chosen(), command=typed())
    if files and is_first():
        result = files.store(result)
        say(f"written to {target}")
    show([result])
    if is_first():
        look_closer(subject, other, files, where, n=n, seed=seed, masking=masking, inspection=inspect)
    return 0


def _processes(devices: int | str) -> tuple[torch.device | str, bool]:
    """The device of this process, and whether others share the work; starts them if asked for."""
    if torch.distributed.is_initialized():
        return device(), torch.distributed.get_world_size() > 1
    if str(devices) == "1" and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return device(), False
    from lightning_fabric import Fabric

    fabric = Fabric(devices=devices, strategy="ddp")
    fabric.launch()
    return fabric.device, fabric.world_size > 1
