"""Run `advdistill` in forks of this warm process: a fork takes a hundredth of a second, a fresh start takes seconds.

A child is a process like any other: it has its own working directory, environment, signals, output and exit code.
"""

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from advdistill.cli import main

PATIENCE = 900  # seconds until a process counts as hung, even on a busy machine


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code, or minus the number of the signal that ended it, and its output."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The error sentence on stderr; empty unless there is exactly one and no traceback."""
        explained = [line for line in self.stderr.splitlines() if line.startswith("advdistill: ")]
        return explained[0] if len(explained) == 1 and "Traceback" not in self.stderr else ""


class Child:
    """A running command.

    Args:
        cwd: its working directory.
        env: variables added to those of this process.
        before: called first in the child; its patches do not affect this process.
    """

    def __init__(
        self,
        *arguments: object,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ):
        self.code, self.printed = None, {}
        pipes = [os.pipe() for _ in range(2)]  # unlike a file, a pipe has no size limit on a full disk
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                for number, name in enumerate(("stdout", "stderr"), start=1):
                    os.dup2(pipes[number - 1][1], number)
                    setattr(sys, name, open(number, "w", buffering=1, closefd=False))
                os.chdir(cwd or ".")
                os.environ.update(env or {})
                sys.argv = ["advdistill", *map(str, arguments)]
                if before:
                    before()
                code = main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(OSError):
                    sys.stdout.flush(), sys.stderr.flush()
                os._exit(code or 0)
        for read, write in pipes:
            os.close(write)
            os.set_blocking(read, False)
            self.printed[read] = b""

    def poll(self) -> int | None:
        """Return the exit code, or None while the command runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            for pipe in self.printed:
                with contextlib.suppress(BlockingIOError):
                    while part := os.read(pipe, 2**16):
                        self.printed[pipe] += part
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                for pipe in self.printed:
                    os.close(pipe)
        return self.code

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` is true or the command has ended."""
        wait_until(lambda: self.poll() is not None or condition())

    def wait(self) -> Done:
        try:
            wait_until(lambda: self.poll() is not None)
        except TimeoutError:
            self.send(signal.SIGKILL)
            raise
        return Done(self.code, *(printed.decode() for printed in self.printed.values()))


def together(processes: int, work: Callable[[], object]) -> list[Done]:
    """Run `work` in forks of this process that have the environment variables of processes launched by torchrun.

    Returns:
        How each process ended, in order of rank. If `work` raised, the exit code is 1 and stderr has the traceback.
    """
    shared = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "together", "GROUP_RANK": 0}  # fmt: skip
    forks = []
    for rank in range(processes):
        env = {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}

        def before() -> None:
            warnings.simplefilter("default")  # as in a fresh process
            work()
            raise SystemExit(0)

        forks.append(Child(env=env, before=before))
    return [fork.wait() for fork in forks]


def free_port() -> int:
    """Return a port for processes that must agree on one; it is below the range for outgoing connections."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
            return port
    raise OSError("no port below 32000 is free")


def wait_until(condition: Callable[[], object]) -> None:
    """Poll until `condition` is true.

    Raises:
        TimeoutError: `condition` is still false after `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {PATIENCE} seconds")
        time.sleep(0.005)


def advdistill(*arguments: object, **options) -> Done:
    """Run the command to its end; the options are those of `Child`."""
    return Child(*arguments, **options).wait()
