"""Training runs in several processes: `in_processes.py FOLDER PROCESSES RUNS`; RUNS is JSON, changes by name."""

import json
import sys
from pathlib import Path

from conftest import Tiny
from training import four, quick

BATCH = 21  # 72 images in batches of 21: two processes share 21 and, at the end, 9, which neither halves


def main(folder: str, processes: int, runs: dict[str, dict]) -> None:
    for name, changes in runs.items():
        quick(Path(folder) / name, four(Tiny), devices=processes, batch_size=BATCH, **changes)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
