"""Read one file under guard: record its exception, time and memory, and what it wrote, ran or connected to."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Outcome", "guarded", "watch"]

CLEAR = (ValueError, OSError, ImportError)
SECONDS = 600  # far more than any file needs, even on a busy machine
LONGEST = 3000  # characters of an error message that is too long to be clear
RUN = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect"}
CHANGED = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Hang(BaseException):
    """Raised if reading takes too long; nothing but the guard catches this exception."""


@dataclass
class Outcome:
    """The outcome of reading one file.

    Attributes:
        kind: `fine`, `clear` (one readable sentence of an exception type that the command line explains) or `other`.
        said: the exception.
        megabytes: rise of the peak resident memory over the resident memory before the reading.
        outside: writes outside the file's folder, started processes and network connections.
    """

    kind: str = "fine"
    said: str = ""
    milliseconds: float = 0
    megabytes: float = 0
    outside: list[str] = field(default_factory=list)


_watched: list[tuple[str, list[str]]] = []


def _audit(event: str, arguments: tuple) -> None:
    if not _watched:
        return
    folder, found = _watched[-1]
    if event in RUN:
        found.append(f"{event} {arguments!r}"[:100])
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        _note(event, arguments[0], folder, found, follows=not arguments[2] & os.O_NOFOLLOW)
    elif event in CHANGED:
        _note(event, arguments[0], folder, found, follows=event == "os.chmod")


def _note(event: str, path: object, folder: str, found: list[str], follows: bool) -> None:
    if isinstance(path, str | bytes | os.PathLike) and "__pycache__" not in (name := os.fsdecode(path)):
        head, tail = os.path.split(os.path.abspath(name))
        real = os.path.realpath(name) if follows else os.path.join(os.path.realpath(head), tail)
        if not f"{real}{os.sep}".startswith(folder + os.sep) and name != os.devnull:
            found.append(f"{event} {name}")


def watch() -> None:
    """Install the audit hook, once in a process: a hook cannot be removed."""
    if not getattr(sys, "_hostile_watch", False):
        sys._hostile_watch = True
        sys.addaudithook(_audit)


def guarded(read: Callable[[], object], folder: Path) -> Outcome:
    """Call `read`, which may write into `folder` only; return the outcome."""
    outcome = Outcome()
    _reset_peak()
    before, began = _memory("VmRSS"), time.perf_counter()
    _watched.append((os.path.realpath(folder), outcome.outside))
    try:
        with _limited():
            read()
    except CLEAR as error:
        outcome.said = f"{type(error).__name__}: {error}"
        readable = str(error).strip() and len(str(error)) < LONGEST and not isinstance(error, RecursionError)
        outcome.kind = "clear" if readable else "other"
    except BaseException as error:  # but a user's KeyboardInterrupt ends the program
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome.kind, outcome.said = "other", f"{type(error).__name__}: {error}"[:300]
    finally:
        _watched.pop()
    outcome.milliseconds = 1000 * (time.perf_counter() - began)
    outcome.megabytes = max(0.0, (_memory("VmHWM") - before) / 1024)
    return outcome


@contextmanager
def _limited():
    def hang(*_):
        raise Hang(f"after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then that of the whole process
        pass


def _memory(name: str) -> int:
    """Return a figure of /proc/self/status in kB, 0 if it is not available."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
