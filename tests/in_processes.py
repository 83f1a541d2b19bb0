"""Run trainings in several processes: `in_processes.py FOLDER PROCESSES RUNS [DIES]`.

RUNS is JSON: the changes to a `quick` run, by the run's name. If DIES is given, the second process kills itself before
that step. The change `normed` gives the networks batch-norm, `roles` adds teachers, `custom_attack` names a
user-defined attack, and `data` sets fields of the data. With `loaded`, each process reads its images from a loader with
a DistributedSampler. Each process saves its final student next to the run.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from conftest import Tiny
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from training import four, further, quick, quick_data

from advdistill import Data, Linf
from advdistill.attacks import CustomAttack

BATCH = 21  # 72 images in batches of 21, the last of 9: two processes cannot halve either


class Normed(Tiny):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(self.hidden, nn.BatchNorm1d(8))


def main(folder: str, processes: int, runs: dict[str, dict]) -> None:
    for name, changes in runs.items():
        if own := changes.pop("custom_attack", None):
            changes["attack"] = CustomAttack(own, Linf(0.2))
        if settings := changes.pop("data", None):
            tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
            changes["data"] = Data("random", **tuples)
        kind = Normed if changes.pop("normed", False) else Tiny
        networks = four(kind) | further(kind, *changes.pop("roles", ()))
        if changes.pop("loaded", False):
            rank = int(os.environ.get("LOCAL_RANK", 0))
            changes |= loaded(processes, rank) | {"batch_size": 8 * processes}
        quick(Path(folder) / name, networks, devices=processes, **{"batch_size": BATCH} | changes)
        torch.save(networks["student"].state_dict(), Path(folder) / f"{name}.{os.environ.get('LOCAL_RANK', 0)}.pt")


def loaded(processes: int, rank: int) -> dict:
    train, validation = quick_data().holdout(0.1, 0)
    dataset = TensorDataset(train.images, train.labels)
    sampler = DistributedSampler(dataset, processes, rank)
    return {"train": DataLoader(dataset, 8, sampler=sampler), "validation": validation}


def dying(step: int) -> None:
    from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

    from advdistill.train.step import Step

    _ChildProcessObserver.run = lambda observer: None  # it kills the survivor within 5 s, perhaps before its message
    call = Step.__call__

    def counted(self, *args):
        if self.state.at.step == step and self.fabric.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(self, *args)

    Step.__call__ = counted


if __name__ == "__main__":
    if len(sys.argv) > 4:
        dying(int(sys.argv[4]))
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
