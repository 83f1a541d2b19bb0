"""What a person sees of a run: a bar on a terminal, a line per epoch anywhere."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Reporter"]


class Reporter:
    """Prints nothing on processes other than the first."""

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

    def step(self, done: int, losses: dict[str, float] | None = None) -> None:
        self.bar.update(self.task, completed=done)
        if losses:
            self.bar.update(self.task, losses="  ".join(f"{name} {value:.3f}" for name, value in losses.items()))

    def say(self, text: str) -> None:
        if self.show:
            self.console.print(text)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """A line of what `metrics.jsonl` says of an epoch."""
        losses = " ".join(f"{name[5:]} {value:.4f}" for name, value in row.items() if name.startswith("loss/"))
        figures = " ".join(f"{name} {row[name]:.1%}" for name in ("clean", "robust") if name in row)
        validation = f"  validation {figures}" if figures else ""
        self.say(f"epoch {row['epoch']:>3}/{epochs}  loss {losses}{validation}  {row['seconds']:.1f} s")
