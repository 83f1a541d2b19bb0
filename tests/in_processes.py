"""A training run in several processes: `in_processes.py FOLDER METHOD PROCESSES`."""

import sys

import torch
from conftest import Tiny
from training import short

from advdistill import distill


def main(folder: str, method: str, processes: int) -> None:
    networks = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        networks.append(Tiny(classes=10, size=8))
    distill(short(method, epochs=2, batch_size=30), folder, student=networks[0], teacher=networks[1],
            clean_teacher=networks[2], accelerator="cpu", devices=processes)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
