"""A sign of life: `heartbeat.json` in the run's folder says who trains it, where they are, and how it ended."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..files import write_json
from .divergence import Diverged
from .state import State

__all__ = ["Heartbeat"]

SECONDS = 10


class Heartbeat:
    """While entered, `beat` writes the file every ten seconds at most; leaving marks the end, and why.

    Args:
        total: steps of the whole run.
        first: whether this process writes; the others keep silent.
    """

    def __init__(self, path: Path, state: State, total: int, first: bool):
        self.path, self.state, self.total, self.first = path, state, total, first

    def __enter__(self) -> "Heartbeat":
        self.began = {"since": time.time(), "since_step": self.state.at.step}
        self._write("running")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._write("finished")
        else:
            self._write("diverged" if isinstance(error, Diverged) else "stopped", str(error) or type(error).__name__)

    def beat(self) -> None:
        if time.monotonic() - self.written > SECONDS:
            self._write("running")

    def _write(self, state: str, why: str = "") -> None:
        self.written, at = time.monotonic(), self.state.at
        if self.first:
            where = {"step": at.step, "total": self.total, "epoch": at.epoch, "rollbacks": at.rollbacks}
            who = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
            with suppress(OSError):  # a full disk stops a run where it would lose work, not here
                write_json(self.path, {"state": state, "why": why} | where | who | self.began)
