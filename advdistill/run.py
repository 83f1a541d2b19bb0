"""A run is a folder: recipe, state, checkpoints, metrics, result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .files import write_atomic
from .models.checkpoint import provenance
from .recipe import Recipe, to_config

__all__ = ["Run"]


class Run:
    """The files of a run, whether it is finished or not.

    Attributes:
        best, last: weights as safetensors, with their architecture in the header.
        state: everything a continuation needs.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.recipe_file = self.folder / "recipe.yaml"
        self.state = self.folder / "state.pt"
        self.best = self.folder / "best.safetensors"
        self.last = self.folder / "last.safetensors"
        self.metrics = self.folder / "metrics.jsonl"
        self.result = self.folder / "result.json"

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def recipe(self) -> Recipe:
        """The recipe the run was made with.

        Raises:
            FileNotFoundError: the folder is not a run.
        """
        if not self.recipe_file.exists():
            raise FileNotFoundError(f"{self.folder} is not a run: it has no recipe.yaml.")
        return Recipe.from_yaml(self.recipe_file.read_text(), str(self.recipe_file))

    @property
    def chosen(self) -> str | None:
        """How the best checkpoint was selected."""
        return provenance(self.best).get("chosen")

    @contextmanager
    def writing(self, recipe: Recipe) -> Iterator[None]:
        """Hold the folder for this process; it is made if need be.

        Raises:
            ValueError: the folder belongs to another recipe, holds other files, or is held by another process.
        """
        self.check(recipe)
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"Another process is writing to {self.folder}; wait, or choose another --out.") from None
        try:
            if not self.recipe_file.exists():
                write_atomic(self.recipe_file, recipe.save)
            yield
        finally:
            lock.release()

    def check(self, recipe: Recipe) -> None:
        """Raise ValueError if the folder belongs to another recipe, holds other files, or is a file itself."""
        if self.folder.is_file():
            raise ValueError(f"{self.folder} is a file, not a run's folder. Choose another --out.")
        if self.recipe_file.exists():
            if changes := list(_differences(to_config(self.recipe), to_config(recipe))):
                raise ValueError(
                    f"{self.folder} was made by another recipe ({'; '.join(changes)}). "
                    "Choose another --out, or delete the folder."
                )
        elif self.folder.exists() and any(f.name != ".lock" for f in self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and not a run. Choose another --out.")


def _differences(there: dict, here: dict, prefix: str = "") -> Iterator[str]:
    for name in there | here:
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}: {old} there, {new} here"
