"""SIGINT and SIGTERM stop a training between two steps, never in the middle of one."""

import signal
from types import TracebackType

__all__ = ["Interrupted", "StopSignals"]


class Interrupted(Exception):
    """The run was asked to stop and has saved its state."""

    def __init__(self, signum: int, where: str):
        super().__init__(f"Stopped by {signal.Signals(signum).name}; {where}.")
        self.signum = signum


class StopSignals:
    """Context manager in which SIGINT and SIGTERM set `received` instead of ending the process.

    Attributes:
        at_once: raise `Interrupted` as soon as a signal arrives; set during long work that changes no state.
    """

    def __init__(self) -> None:
        self.received, self.at_once = 0, False

    def __enter__(self) -> "StopSignals":
        self.previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, signum: int, frame: object) -> None:
        self.received = signum
        if self.at_once:
            raise Interrupted(signum, "the training steps are saved; run the same command to resume")
