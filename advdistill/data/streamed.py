"""Images decoded on demand by worker processes, for data that does not fit into memory."""

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

MOST_WORKERS, AHEAD = 4, 2  # processes, and batches that each prefetches
CHUNK = 64  # images decoded at once if only their order matters
_PR_SET_PDEATHSIG = 1

Faults = list[tuple[str, str]]
Decode = Callable[[np.ndarray], tuple[np.ndarray, Faults]]


class Streamed:
    """Lazy replacement for `Split.images`, uint8 `[N, C, H, W]`: `images[index]` reads and decodes files.

    Args:
        decode: maps indices into the data to uint8 `[n, C, H, W]` and a list of unreadable images with reasons.
        places: the indices of these images in the data, int64 `[N]`.
        form: channels, height and width.
        name: name of the data, for messages.
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
        """Return a subset of these images; nothing is decoded."""
        return Streamed(self.decode, self._at(index), self.form, self.name)

    def batches(self, indices: Iterable[slice | Sequence[int] | Tensor]) -> Iterator[Tensor]:
        """Yield `images[index]` for each index, decoded ahead; the processes end with the iterator.

        Raises:
            ValueError: an image can no longer be read, or has changed.
            OSError: a process was killed.
        """
        for images, faults in decoded(self.decode, [self._at(index) for index in indices]):
            yield self._checked(images, faults)

    def fingerprint(self, labels: Tensor, on_batch: Callable[[int, Faults], None] | None = None) -> str:
        """Return the fingerprint of the decoded images with these labels; computed once, in one pass over all images.

        Args:
            on_batch: called with the number of images in each batch and the unreadable ones, which then raise no error.
        """
        answers, key = labels.contiguous().numpy().data, _key(labels)
        if key not in self.fingerprints:
            digest = hashlib.sha256()
            chunks = [self.places[start : start + CHUNK] for start in range(0, len(self), CHUNK)]
            for images, faults in decoded(self.decode, chunks):
                on_batch(len(images), faults) if on_batch else self._checked(images, faults)
                digest.update(images.data)
            digest.update(answers)
            self.fingerprints[key] = digest.hexdigest()[:12]
        return self.fingerprints[key]

    def known_fingerprint(self, labels: Tensor) -> str | None:
        """Return the fingerprint if it is known without decoding the images, else `None`."""
        return self.fingerprints.get(_key(labels))

    def _at(self, index: slice | Sequence[int] | Tensor) -> np.ndarray:
        return self.places[index if isinstance(index, slice) else torch.as_tensor(index).cpu().numpy()]

    def _checked(self, images: np.ndarray, faults: Faults) -> Tensor:
        if faults:
            shown = ", ".join(f"{name} ({reason})" for name, reason in faults)
            raise ValueError(
                f"{len(faults)} of {len(images)} images of {self.name} can no longer be read, or differ from the "
                f"start of the run: {shown}. Put them back and run the same command to resume."
            )
        return torch.from_numpy(images)


def _key(labels: Tensor) -> str:
    return hashlib.sha256(labels.contiguous().numpy().data).hexdigest()


class _Jobs(torch.utils.data.Dataset[tuple[np.ndarray, Faults]]):
    def __init__(self, decode: Decode):
        self.decode = decode

    def __getitem__(self, places: np.ndarray) -> tuple[np.ndarray, Faults]:
        return self.decode(places)


def decoded(decode: Decode, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, Faults]]:
    """Yield `decode` of each batch of indices, in order; a single batch is decoded in this process."""
    if len(batches) < 2:
        yield from map(decode, batches)
        return
    loader = DataLoader(
        _Jobs(decode), sampler=batches, batch_size=None, collate_fn=_as_it_is, num_workers=min(workers(), len(batches)),
        worker_init_fn=begin, prefetch_factor=AHEAD, multiprocessing_context=_start(),
        generator=torch.Generator(),  # else the loader would draw from torch's global generator
    )  # fmt: skip
    jobs = iter(loader)
    while (done := _next(jobs)) is not None:
        yield done


def workers() -> int:
    """Return the number of decoding processes."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


def _next(jobs: Iterator[tuple[np.ndarray, Faults]]) -> tuple[np.ndarray, Faults] | None:
    try:
        return next(jobs, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(f"A process that decodes images has ended, perhaps for lack of memory: {error}") from error


def _as_it_is(done: Any) -> Any:
    """Send arrays, not tensors, through a pipe: many containers have almost no shared memory."""
    return done


def begin(worker: int) -> None:
    """Shield a worker from signals sent to the whole process group: the run needs its workers to save its state.

    If the run is killed, the workers are killed with it, because they inherited its lock.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _start() -> str | None:
    """Fork on Linux: it takes milliseconds and needs no `__main__` guard. On other systems fork is not safe."""
    return "fork" if sys.platform == "linux" else None
