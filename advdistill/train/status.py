"""The status of a run: its process writes `heartbeat.json`; `status` reads that and the rest of the folder."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from .._internal.files import read_sealed, write_json
from .._internal.reading import read_text
from ..recipe import Recipe
from ..results.metrics import losses_of, read_metrics
from ..run import Run, stale_result_message
from .checkpoints import better
from .divergence import Diverged, catastrophic
from .state import State

__all__ = ["Heartbeat", "Status", "status"]

Name = Literal["waiting", "running", "stale", "stopped", "diverged", "finished"]
BEAT = 10  # seconds between two writes of the heartbeat
FRESH = 60  # seconds after a beat in which a run on another machine, whose lock is not visible here, counts as running
STALE = 600  # seconds; beats are written between steps, not during a validation
TEXTS = ("state", "host", "why")  # the other values of a heartbeat are numbers
LARGEST = 2**53  # whole numbers up to this one are exact as floats


class Heartbeat:
    """Context manager that writes `heartbeat.json`: in `beat`, at most every ten seconds, and at the end with a reason.

    Args:
        total: steps of the whole run.
        first: whether this process writes; only one of several does.
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
        if time.monotonic() - self.written > BEAT:
            self._write("running")

    def _write(self, state: str, why: str = "") -> None:
        self.written, at = time.monotonic(), self.state.at
        if self.first:
            where = {"step": at.step, "total": self.total, "epoch": at.epoch, "rollbacks": at.rollbacks}
            who = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
            with suppress(OSError):  # a full disk stops the run when the state is saved, not here
                write_json(self.path, {"state": state, "why": why} | where | who | self.began)


@dataclass(frozen=True)
class Status:
    """The status of a run.

    Attributes:
        state: `waiting`: training has not begun; `stale`: the process is alive but has written nothing for ten minutes;
            `stopped`: the same command resumes the run.
        why: why a run stopped or diverged, else empty.
        epoch, step: epochs and optimiser steps done, of `epochs` and `steps`.
        eta: seconds left, if the run is running.
        last: `epoch` and `loss` of the last epoch; `clean` and `robust` held-out accuracy of the last validation.
        best: `epoch`, `clean` and `robust` held-out accuracy of the best checkpoint.
        health: problems, a sentence each.
    """

    run: str
    state: Name
    why: str
    epoch: int
    epochs: int
    step: int
    steps: int | None
    eta: float | None
    last: dict[str, float]
    best: dict[str, float]
    health: tuple[str, ...]

    @property
    def done(self) -> float:
        """Fraction of the training that is done."""
        return self.step / self.steps if self.steps else self.epoch / self.epochs


def status(run: Run) -> Status:
    """Return the status of a run from the files in its folder.

    Raises:
        FileNotFoundError: the folder is not a run.
    """
    recipe, beat, rows = run.recipe, _beat(run), read_metrics(run.metrics)
    state = _state(run, beat)
    newest: dict[str, Any] = rows[-1] if rows else {"epoch": 0, "step": 0}
    steps = beat.get("total") or (newest["step"] // newest["epoch"] * recipe.epochs if rows else None)
    step = max(beat.get("step", 0), newest["step"]) if state != "finished" else steps
    return Status(
        run=str(run),
        state=state,
        why=_why(state, beat),
        epoch=int(newest["epoch"]),
        epochs=recipe.epochs,
        step=step or 0,
        steps=steps,
        eta=_eta(beat) if state == "running" else None,
        last=_last(rows),
        best=_best(rows, recipe),
        health=tuple(_health(run, state, beat, rows)),
    )


def _beat(run: Run) -> dict[str, Any]:
    try:
        beat = json.loads(read_text(run.heartbeat))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    known = beat.items() if isinstance(beat, dict) else ()
    return {name: value for name, value in known if _is_valid(name, value)}


def _is_valid(name: str, value: object) -> bool:
    return isinstance(value, str) if name in TEXTS else isinstance(value, int | float) and abs(value) < LARGEST


def _state(run: Run, beat: dict[str, Any]) -> Name:
    age = time.time() - beat.get("time", 0)
    alive = run.busy
    if alive:
        return "stale" if beat.get("state") == "running" and age > STALE else "running"
    elsewhere = alive is None or beat.get("host") != socket.gethostname()
    if beat.get("state") == "running" and elsewhere and age < FRESH:
        return "running"
    if run.last.exists():
        return "finished"
    if beat.get("state") == "diverged":
        return "diverged"
    return "stopped" if run.begun or beat else "waiting"


def _why(state: str, beat: dict[str, Any]) -> str:
    if state == "stopped" and beat.get("state") == "running":
        who = f"Process {beat.get('pid')} on {beat.get('host')}"
        return f"{who} exited without recording a status (killed?); run the same command to resume."
    return beat.get("why", "") if state in ("stopped", "diverged") else ""


def _eta(beat: dict[str, Any]) -> float | None:
    steps, seconds = beat.get("step", 0) - beat.get("since_step", 0), beat.get("time", 0) - beat.get("since", 0)
    return seconds / steps * (beat.get("total", 0) - beat["step"]) if steps > 0 else None


def _last(rows: list[dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    validated = [row for row in rows if "robust" in row]
    figures = {name: validated[-1][name] for name in ("clean", "robust")} if validated else {}
    return {"epoch": rows[-1]["epoch"], "loss": sum(losses_of(rows[-1]).values())} | figures


def _best(rows: list[dict[str, float]], recipe: Recipe) -> dict[str, float]:
    best: dict[str, float] = {}
    for row in rows:
        if "robust" in row and better(row, best, recipe.select_by):
            best = {name: row[name] for name in ("epoch", "clean", "robust")}
    return best


def _health(run: Run, state: str, beat: dict[str, Any], rows: list[dict[str, float]]) -> Iterator[str]:
    if since := catastrophic(rows):
        yield f"catastrophic overfitting since epoch {since}"
    if rollbacks := max(beat.get("rollbacks", 0), int(rows[-1].get("rollbacks", 0)) if rows else 0):
        yield f"{rollbacks} rollback{'s' if rollbacks > 1 else ''}"
    if changed := int(rows[-1].get("changed_inputs", 0)) if rows else 0:
        yield f"resumed on other networks or data than it began with ({changed} differ{'s' if changed == 1 else ''})"
    try:
        if stale_result_message(run.result):
            yield f"result.json was measured on other weights than best.safetensors has now (advdistill evaluate {run})"
    except ValueError as error:
        yield f"result.json cannot be read: {str(error).rstrip('.')}"
    if state in ("running", "stale", "waiting"):  # the process may be renaming the files
        return
    for path in (run.state, run.previous_state):
        try:
            if path.exists():
                read_sealed(path)
        except ValueError:
            yield f"{path.name} is damaged"
