"""Images that are decoded when they are asked for, by worker processes: for data that does not fit the memory."""

import ctypes
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

__all__ = ["Decode", "Faults", "Streamed", "begin", "decoded", "workers"]

MOST_WORKERS, AHEAD = 4, 2  # processes, and batches that each has ready
CHUNK = 64  # images of a batch where only their order matters
_PR_SET_PDEATHSIG = 1

Faults = list[tuple[str, str]]
Decode = Callable[[np.ndarray], tuple[np.ndarray, Faults]]


class Streamed:
    """Lazy replacement for `Split.images`, uint8 `[N, C, H, W]`: `images[index]` reads and decodes, as of a file.

    Args:
        decode: places in the data to uint8 `[n, C, H, W]`, and the names of what could not be read, with the reasons.
        places: which images these are, int64 `[N]`.
        form: channels, height and width.
        name: of the data, for messages.
    """

    dtype, ndim = torch.uint8, 4

    def __init__(self, decode: Decode, places: np.ndarray, form: tuple[int, int, int], name: str):
        self.decode, self.places, self.form, self.name = decode, places, form, name
        self.fingerprints: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.form))

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Tensor:
        return self._checked(*self.decode(self._at(index)))

    def take(self, index: slice | Sequence[int] | Tensor) -> "Streamed":
        """Some of these images; none of them is decoded."""
        return Streamed(self.decode, self._at(index), self.form, self.name)

    def batches(self, indices: Iterable[slice | Sequence[int] | Tensor]) -> Iterator[Tensor]:
        """`images[index]` for each of them, decoded ahead; the processes live as long as the iterator.

        Raises:
            ValueError: an image can no longer be read, or has changed.
            OSError: a process was killed.
        """
        for images, faults in decoded(self.decode, [self._at(index) for index in indices]):
            yield self._checked(images, faults)

    def fingerprint(self, labels: Tensor, met: Callable[[int, Faults], None] | None = None) -> str:
        """That of the decoded images with these labels; found once, by a pass over all.

        Args:
            met: receives the number of images in each batch and what could not be read, which is then no error.
        """
        answers = labels.contiguous().numpy().data
        key = hashlib.sha256(answers).hexdigest()
        if key not in self.fingerprints:
            digest = hashlib.sha256()
            chunks = [self.places[start : start + CHUNK] for start in range(0, len(self), CHUNK)]
            for images, faults in decoded(self.decode, chunks):
                met(len(images), faults) if met else self._checked(images, faults)
                digest.update(images.data)
            digest.update(answers)
            self.fingerprints[key] = digest.hexdigest()[:12]
        return self.fingerprints[key]

    def _at(self, index: slice | Sequence[int] | Tensor) -> np.ndarray:
        return self.places[index if isinstance(index, slice) else torch.as_tensor(index).cpu().numpy()]

    def _checked(self, images: np.ndarray, faults: Faults) -> Tensor:
        if faults:
            shown = ", ".join(f"{name} ({reason})" for name, reason in faults)
            raise ValueError(
                f"{len(faults)} of {len(images)} images of {self.name} can no longer be read as they were at the "
                f"start: {shown}. Put them back; the same command continues."
            )
        return torch.from_numpy(images)


class _Jobs(torch.utils.data.Dataset[tuple[np.ndarray, Faults]]):
    def __init__(self, decode: Decode):
        self.decode = decode

    def __getitem__(self, places: np.ndarray) -> tuple[np.ndarray, Faults]:
        return self.decode(places)


def decoded(decode: Decode, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, Faults]]:
    """`decode` of each batch of places, in order; a single one in this process."""
    if len(batches) < 2:
        yield from map(decode, batches)
        return
    loader = DataLoader(
        _Jobs(decode), sampler=batches, batch_size=None, collate_fn=_as_it_is, num_workers=min(workers(), len(batches)),
        worker_init_fn=begin, prefetch_factor=AHEAD, multiprocessing_context=_start(),
        generator=torch.Generator(),  # or a draw would be taken from the training's
    )  # fmt: skip
    jobs = iter(loader)
    while (done := _next(jobs)) is not None:
        yield done


def workers() -> int:
    """Processes that decode."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


def _next(jobs: Iterator[tuple[np.ndarray, Faults]]) -> tuple[np.ndarray, Faults] | None:
    try:
        return next(jobs, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(f"A process that decodes images is gone, perhaps for lack of memory: {error}") from error


def _as_it_is(done: Any) -> Any:
    """Arrays, not tensors, come through a pipe: many a container has next to no shared memory."""
    return done


def begin(worker: int) -> None:
    """What stops a run is often sent to its whole group, which is to save its state with what is decoded here.

    Where the run is killed these go at once, since they hold what it had locked.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _start() -> str | None:
    """A fork takes milliseconds, and needs no guard in anybody's script; nowhere but on Linux is it sound."""
    return "fork" if sys.platform == "linux" else None
