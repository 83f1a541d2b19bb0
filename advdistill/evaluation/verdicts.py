"""Each attack's verdict on each image, in memory and in a file from which a later call resumes."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .._internal.files import write_atomic
from .._internal.reading import ordinary
from .._internal.secret import key_problem
from ..models.digest import digest  # re-exported for code that creates such files
from ..results.consistency import same_fact
from ..results.files import TAG, signed, signed_by_this_user, unfinished_files

__all__ = ["CORRECT", "Verdicts", "digest"]

CORRECT, UNKNOWN = 1, 255


class Verdicts:
    """Verdict tensors `[n]` by name: `ATTACK` is 1 if an image is still classified correctly, else 0.

    `ATTACK.NOTE` has further values for each image.

    Args:
        setting: facts that identify the evaluation, such as weights and seed; strings by name.
        path: the file to save after every batch, and to resume from if it exists; `None` keeps verdicts in memory.
        rank: rank of this process; each process but the first saves its own file, named after the first one's.
        report: receives a line about each file that is not used, because this user's advdistill did not write it.

    Attributes:
        set_aside: a line for each file that is not used and was renamed.

    Raises:
        ValueError: a file is damaged, or has another setting.
    """

    def __init__(
        self,
        n: int,
        setting: dict[str, str] | None = None,
        path: Path | None = None,
        rank: int = 0,
        report: Callable[[str], None] = lambda line: None,
    ):
        self.n, self.setting, self.path, self.rank = n, setting or {}, path, rank
        self.tensors: dict[str, Tensor] = {}
        self.set_aside: list[str] = []
        if path and (problem := key_problem()):
            report(
                f"No key can be written ({problem}): after an interruption, this evaluation starts afresh. "
                "Name a file for the key: export ADVDISTILL_KEY=FILE"
            )
        for file in unfinished_files(path):
            setting, tensors = self._read(file)
            if signed_by_this_user({name: tensor.numpy() for name, tensor in tensors.items()}, setting):
                self._check(file, setting, tensors)
                self._merge(tensors)
            else:
                self.set_aside.append(_set_aside(file))
                report(self.set_aside[-1])

    def begin(self, attack: str, notes: Mapping[str, torch.dtype]) -> None:
        """Allocate an attack's verdicts, its seconds (stored at the first image of a batch) and its notes."""
        kinds = {attack: torch.uint8, f"{attack}.seconds": torch.float32}
        for name, dtype in (kinds | {f"{attack}.{note}": dtype for note, dtype in notes.items()}).items():
            self.tensors.setdefault(name, _blank(self.n, dtype))

    def knows(self, attack: str, start: int, stop: int) -> bool:
        return bool((self.tensors[attack][start:stop] != UNKNOWN).all())

    def put(
        self, attack: str, start: int, correct: Tensor, notes: Mapping[str, Tensor], seconds: float, save: bool = True
    ) -> None:
        """Add the verdicts `[b]` of a batch; if `save`, save all verdicts."""
        stop = start + len(correct)
        self.tensors[attack][start:stop] = correct.cpu()
        self.tensors[f"{attack}.seconds"][start] = seconds
        for note, values in notes.items():
            self.tensors[f"{attack}.{note}"][start:stop] = values.cpu()
        if save:
            self._save()

    def count(self, attack: str, note: str) -> int | None:
        """Return the number of images for which a note of this attack is 1; `None` if no image has this note."""
        found = self.tensors.get(f"{attack}.{note}")
        return None if found is None or (found == UNKNOWN).all() else int((found == 1).sum())

    def seconds(self, attack: str) -> float:
        """Return the duration of an attack, summed over all calls and processes."""
        took = self.tensors[f"{attack}.seconds"]
        return round(took[took.isfinite()].sum().item(), 2)

    def gather(self, attack: str, device: torch.device | str) -> None:
        """Merge the verdicts of all processes; each of them must call this."""
        for name, tensor in self.tensors.items():
            if name.split(".")[0] == attack:
                shared = tensor.to(device)
                torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MIN)
                tensor.copy_(shared)
        if not self.rank:  # for all processes: the files may be removed before another process would save
            self._save()

    def _save(self) -> None:
        if self.path:
            own = self.path.with_name(f"{self.path.name}.{self.rank}") if self.rank else self.path
            setting = signed({name: tensor.numpy() for name, tensor in self.tensors.items()}, self.setting)
            write_atomic(own, lambda temporary: save_file(self.tensors, temporary, setting))

    def _merge(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self.tensors[name] = torch.minimum(self.tensors.get(name, tensor), tensor)

    def _read(self, file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
        try:
            with safe_open(ordinary(file), "pt") as opened:
                setting = opened.metadata() or {}
                return setting, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged ({error}). Delete it to start the evaluation afresh.") from None

    def _check(self, file: Path, setting: dict[str, str], tensors: dict[str, Tensor]) -> None:
        known = self.setting | {TAG: setting[TAG]}
        differing = [name for name in setting | known if not same_fact(name, setting.get(name), known.get(name))]
        if differing:
            raise ValueError(
                f"{file} is an unfinished evaluation of another kind ({', '.join(differing)} differ). "
                "Finish that one with its own settings, or delete the file."
            )
        if any(tensor.shape != (self.n,) for tensor in tensors.values()):
            raise ValueError(f"{file} holds no verdicts on {self.n} images. Delete it to start the evaluation afresh.")


def _set_aside(file: Path) -> str:
    """Rename a file of verdicts that this user did not compute; return a sentence that reports this."""
    aside = file.with_name(f"set-aside.{file.name}")
    with suppress(FileNotFoundError):  # another process of the same evaluation was faster
        file.replace(aside)
    return (
        f"{file} was not written with this user's key, so its verdicts are not used: all images are attacked afresh. "
        f"The file is now {aside.name}."
    )


def _blank(n: int, dtype: torch.dtype) -> Tensor:
    """Return unknown verdicts: the largest value, so that the minimum of two tensors has the verdicts of both."""
    return torch.full((n,), UNKNOWN if dtype == torch.uint8 else torch.inf, dtype=dtype)
