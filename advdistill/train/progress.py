"""Progress output of a training run: a progress bar in a terminal, and a line for each epoch."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..results.metrics import losses_of

__all__ = ["Reporter"]


class Reporter:
    """Context manager that shows a progress bar if stderr is a terminal.

    Args:
        title: title of the bar.
        total: steps of the whole run.
        done: steps already done.
        show: whether this process prints; only the first one does.
    """

    def __init__(self, title: str, total: int, done: int, show: bool):
        self.show, self.console = show, Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), "{task.percentage:>3.0f}%",
            TimeElapsedColumn(), "eta", TimeRemainingColumn(), TextColumn("{task.fields[losses]}"),
            console=self.console, disable=not (show and self.console.is_terminal), transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task(title, total=total, completed=done, losses="")

    def __enter__(self) -> "Reporter":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, done: int, losses: dict[str, float]) -> None:
        """Move the bar to `done` steps and show the losses next to it."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.bar.update(self.task, completed=done, losses=shown)

    def say(self, text: str) -> None:
        """Print a line to stderr."""
        if self.show:
            self.console.print(text)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Print a line for a row of `metrics.jsonl`; `epochs` is the number of epochs of the whole run."""
        losses = " ".join(f"{name} {value:.4f}" for name, value in losses_of(row).items())
        figures = " ".join(f"{name} {row[name]:.1%}" for name in ("clean", "robust") if name in row)
        validation = f"  validation {figures}" if figures else ""
        self.say(f"epoch {row['epoch']:>3}/{epochs}  loss {losses}{validation}  {row['seconds']:.1f} s")
