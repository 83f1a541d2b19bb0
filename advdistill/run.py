"""A run is a folder: recipe, state, checkpoints, metrics, result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ._internal.files import drop_unfinished, make_folder, write_atomic
from ._internal.reading import read_text
from .config import to_config
from .models.checkpoint import provenance
from .recipe import Recipe
from .results.result import Result
from .results.weights import weights_mismatch

__all__ = ["Run", "digest_of_loaded", "previous_state_file", "stale_result_message"]

MAY_CHANGE = {"on_divergence"}  # fields that may change when a run is resumed: they matter only if the run would stop
PATIENCE = 1  # seconds to wait for the lock; `Run.busy` holds it for a moment


def previous_state_file(state: Path) -> Path:
    """Return the file to which the state at the end of an epoch is moved when a newer state replaces it."""
    return state.with_name(f"{state.stem}.previous{state.suffix}")


def stale_result_message(file: Path) -> str | None:
    """Return a sentence if a result is of other weights than those next to it, else `None`; for any file version."""
    return weights_mismatch(file, Result.load(file), digest_of_loaded) if file.exists() else None


def digest_of_loaded(path: Path) -> str | None:
    """Return the digest of a file's network, loaded in fp32 as for an evaluation; `None` if there is no network."""
    from .models import load
    from .models.digest import digest

    try:
        return digest(load(path).float())
    except ValueError:  # not a network
        return None


class Run:
    """The files of a run, finished or not.

    Attributes:
        best, last: weights as safetensors, with their architecture in the header.
        state: everything needed to resume; `previous_state` is the state before it from the end of an epoch.
        metrics: one row per epoch, see `results.metrics`.
        heartbeat: the training process, its progress, and how it ended.

    Example:
        >>> from advdistill import Run
        >>> run = Run("runs/digits.rslad")  # nothing is read or written yet
        >>> run.best.name, run.begun
        ('best.safetensors', False)
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.recipe_file = self.folder / "recipe.yaml"
        self.state = self.folder / "state.pt"
        self.previous_state = previous_state_file(self.state)
        self.best = self.folder / "best.safetensors"
        self.last = self.folder / "last.safetensors"
        self.metrics = self.folder / "metrics.jsonl"
        self.result = self.folder / "result.json"
        self.heartbeat = self.folder / "heartbeat.json"
        self._lock = self.folder / ".lock"

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run.

        Raises:
            FileNotFoundError: the folder is not a run.
        """
        if not self.recipe_file.exists():
            raise FileNotFoundError(f"{self.folder} is not a run: it has no recipe.yaml.")
        return Recipe.from_yaml(read_text(self.recipe_file), str(self.recipe_file))

    @property
    def begun(self) -> bool:
        """Whether there is a state to resume from; a run killed between two renames has only the previous one."""
        return self.state.exists() or self.previous_state.exists()

    @property
    def busy(self) -> bool | None:
        """Whether a process on this machine is writing to the folder; `None` if the folder's lock cannot be opened."""
        if not self._lock.exists():
            return False
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # a run of another user
            return None
        lock.release()
        return False

    @property
    def chosen(self) -> str | None:
        """How the best checkpoint was selected."""
        return provenance(self.best).get("chosen")

    @property
    def student_reference(self) -> str:
        """The reference of the best checkpoint for `models.load`; for a user's own student, it includes the class."""
        student = self.recipe.student
        if not student.startswith("python:"):
            return str(self.folder)
        return f"{student}{'&' if '?' in student else '?'}checkpoint={self.best}"

    @contextmanager
    def writing(self, recipe: Recipe) -> Iterator[None]:
        """Lock the folder for this process; create the folder if needed.

        Raises:
            ValueError: the folder belongs to another recipe, has other files in it, or is locked by another process.
        """
        self.check(recipe)
        make_folder(self.folder)
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise ValueError(f"Another process is writing to {self.folder}; wait, or choose another --out.") from None
        try:
            for file in (self.recipe_file, self.state, self.best, self.last, self.metrics, self.heartbeat):
                drop_unfinished(file)
            if not self.recipe_file.exists() or to_config(self.recipe) != to_config(recipe):
                write_atomic(self.recipe_file, recipe.save)
            yield
        finally:
            lock.release()

    def check(self, recipe: Recipe) -> None:
        """Raise ValueError if the folder belongs to another recipe, has other files in it, or is a file itself."""
        if self.folder.is_file():
            raise ValueError(f"{self.folder} is a file, not a run's folder. Choose another --out.")
        if self.recipe_file.exists():
            new = to_config(recipe)
            old = to_config(self.recipe) | {name: new[name] for name in MAY_CHANGE}
            if changes := list(_differences(old, new)):
                raise ValueError(
                    f"{self.folder} was made with another recipe ({'; '.join(changes)}). "
                    "Choose another --out, or delete the folder."
                )
        elif self.folder.exists() and any(map(self._foreign, self.folder.iterdir())):
            raise ValueError(f"{self.folder} is not empty and not a run. Choose another --out.")

    def _foreign(self, file: Path) -> bool:
        """Whether a file does not belong to a run. A run killed while writing its recipe has only a temporary file."""
        return file != self._lock and not file.name.startswith(f".{self.recipe_file.name}.")


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in old | new:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}: {before} in the folder, {after} in this command"
