"""Commands in children of one warm process: a fork takes a tenth of a second, a fresh start ten."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from advdistill.cli import main

PATIENCE = 120  # seconds until a child counts as hung


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that ended it; and all that it said."""

    code: int
    said: str

    @property
    def sentence(self) -> str:
        """The one that explains why it stopped, empty unless there is exactly one and no traceback."""
        explained = [line for line in self.said.splitlines() if line.startswith("advdistill: ")]
        return explained[0] if len(explained) == 1 and "Traceback" not in self.said else ""


class Child:
    """A command at work.

    Args:
        before: what else the child does first; its patches are its own.
    """

    def __init__(self, command: list[str], before: Callable[[], None] | None = None):
        self.reads, writes = os.pipe()  # a pipe has no size limit, unlike a file on a full disk
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(writes, 1)
            os.dup2(writes, 2)
            os._exit(_obey(command, before))
        os.close(writes)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        until, done = time.monotonic() + PATIENCE, 0
        while not done:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.005)
            if time.monotonic() > until:
                self.send(signal.SIGABRT)
        with os.fdopen(self.reads) as said:
            return Ended(os.waitstatus_to_exitcode(status), said.read())


def _obey(command: list[str], before: Callable[[], None] | None) -> int:
    try:
        if before:
            before()
        return main(command)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def train(recipe: Path, out: Path, before: Callable[[], None] | None = None) -> Child:
    return Child(["train", str(recipe), "--suite", "None", "--out", str(out)], before)
