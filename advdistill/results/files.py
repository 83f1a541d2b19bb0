"""The files of a result: `result.json`, and the files next to it whose names begin with its name."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .._internal.files import drop_unfinished, write_atomic
from .._internal.reading import ordinary
from .._internal.secret import genuine, tag
from .consistency import same_fact
from .result import Result

__all__ = ["TAG", "AdversarialImages", "ResultFiles", "remove_unfinished", "signed", "signed_by_this_user",
           "unfinished_files"]  # fmt: skip

Kind = TypeVar("Kind", bound=Result)
Arrays = Mapping[str, np.ndarray]
TAG = "tag"  # metadata key in a file of verdicts: the HMAC of everything else in the file with the user's secret
ELSEWHERE = "elsewhere"  # metadata key in `verdicts`: attacks of a merged result that this user did not measure
PATIENCE = 1  # seconds to wait for the lock


class ResultFiles:
    """The paths of all files of one result.

    Attributes:
        verdicts: by attack, uint8 `[n]`: 1 still classified correctly, 0 broken.
        images: a folder with the adversarial images that were counted as broken.
        masking, inspection: the results of `--masking` and `--inspect`.
        metrics: one row per epoch of the training; used if the result is not in a run's folder.
        unfinished, unfinished_images: verdicts and images of an interrupted evaluation, which a later call continues.
    """

    def __init__(self, result: Path):
        self.result = result
        self.verdicts, self.images = result.with_suffix(".verdicts.safetensors"), result.with_suffix(".adv")
        self.masking, self.metrics = result.with_suffix(".masking.json"), result.with_suffix(".metrics.jsonl")
        self.inspection = result.with_suffix(".inspection.safetensors")
        self.unfinished = result.with_suffix(".unfinished.safetensors")
        self.unfinished_images = result.with_suffix(".unfinished.adv")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the result for this process, and remove half-written files of killed processes.

        Raises:
            ValueError: another process is writing the same result.
        """
        lock = FileLock(self.result.with_name(f".{self.result.stem}.lock"))
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise ValueError(f"Another process is writing {self.result}; wait, or give another --out.") from None
        try:
            self._clean()
            if not any(map(_is_ours, unfinished_files(self.unfinished))):  # images without verdicts of this user
                _remove(self.unfinished_images)
            yield
            self._clean()
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def store(self, result: Kind) -> Kind:
        """Write a result and its verdicts; an earlier result is merged if model, data and settings agree, else renamed.

        Returns:
            The result as written: with the earlier measurements, if the two were merged.
        """
        fresh, _ = _read(self.unfinished)
        known, elsewhere, joined = dict[str, np.ndarray](), set[str](), None
        if self.result.exists():
            earlier = Result.load(self.result)
            if joined := result.joined(earlier):
                known, _ = _read(self.verdicts) if self.verdicts.exists() else ({}, {})
                elsewhere = set(_attacks(earlier)) - self.measured_by_this_user(earlier) - fresh.keys()
                joined = joined if _counts_agree(earlier, known, elsewhere) else None
            if joined is None:
                known, elsewhere = {}, set()
                self.set_aside(earlier.date)
            result = joined or result
        facts = {name: str(getattr(result, name)) for name in ("weights", "fingerprint", "threat", "seed")}
        facts |= {"attacks": json.dumps(_attacks(result)), ELSEWHERE: json.dumps(sorted(elsewhere))}
        measured = {m.attack for m in result.measurements}
        tensors = {name: array for name, array in known.items() if name.split(".")[0] not in fresh} | fresh
        tensors = {name: array for name, array in tensors.items() if name.split(".")[0] in measured}
        write_atomic(self.verdicts, lambda temporary: save_file(tensors, temporary, signed(tensors, facts)))
        for attack in measured & fresh.keys():
            same = attack in known and np.array_equal(known[attack], fresh[attack])
            AdversarialImages(self.unfinished_images).copy_to(self.images, attack, keep=same)
        result.save(self.result)
        remove_unfinished(self.unfinished)  # last: if killed before, the same evaluation stores the same files again
        _remove(self.unfinished_images)
        return result

    def measured_by_this_user(self, result: Result) -> set[str]:
        """Return the attacks of a result that this user's advdistill measured, as the tag of the verdicts proves."""
        with suppress(ValueError, FileNotFoundError):
            tensors, facts = _read(self.verdicts)
            same = all(same_fact(n, facts.get(n), getattr(result, n)) for n in ("weights", "fingerprint", "threat"))
            if signed_by_this_user(tensors, facts) and same and "attacks" in facts:
                ours, there = json.loads(facts["attacks"]), _attacks(result)
                return {name for name in there if ours.get(name) == there[name]} - set(json.loads(facts[ELSEWHERE]))
        return set()

    def set_aside(self, date: str) -> None:
        """Add the date to the names of the result and of all its files; the result is renamed last."""
        stem, dated, number = self.result.stem, f"{self.result.stem}-{date.replace(':', '')}", 1
        while self.result.with_name(f"{dated}{self.result.suffix}").exists():  # an earlier one has the same second
            number += 1
            dated = f"{self.result.stem}-{date.replace(':', '')}-{number}"
        for file in filter(Path.exists, (self.verdicts, self.images, self.masking, self.inspection, self.result)):
            file.rename(file.with_name(f"{dated}{file.name[len(stem) :]}"))

    def _clean(self) -> None:
        for file in (self.result, self.verdicts, self.masking, self.inspection, self.unfinished):
            drop_unfinished(file)
        for folder in (self.images, self.unfinished_images):
            for left in folder.glob(".*.safetensors.*") if folder.is_dir() and not folder.is_symlink() else ():
                if left.is_file():
                    left.unlink()


class AdversarialImages:
    """A folder with a file `ATTACK.START.safetensors` for each batch: x' and the indices of the images in the split.

    Args:
        folder: created with the first file.
        facts: metadata of each file: what the images were computed for, such as the digest of the weights.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str] | None = None):
        self.folder, self.facts = folder, dict(facts or {})

    def put(self, attack: str, start: int, x_adv: np.ndarray, broken: np.ndarray) -> None:
        """Save the x' `[B, C, H, W]` of the images that are True in `broken` `[B]`; their batch begins at `start`.

        Raises:
            ValueError: the folder is a link.
        """
        _no_link(self.folder).mkdir(parents=True, exist_ok=True)
        tensors = {"index": start + np.flatnonzero(broken), "x_adv": np.ascontiguousarray(x_adv[broken])}
        write_atomic(self._file(attack, start), lambda temporary: save_file(tensors, temporary, self.facts or None))

    def set_aside(self) -> None:
        """Rename the folder to `set-aside.NAME`; an earlier folder of that name is removed."""
        if self.folder.exists():
            aside = self.folder.with_name(f"set-aside.{self.folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            _no_link(self.folder).rename(aside)

    def has(self, attack: str, start: int) -> bool:
        """Whether the images of the batch that begins at `start` were saved."""
        return self._file(attack, start).is_file()

    def copy_to(self, folder: Path, attack: str, keep: bool) -> None:
        """Copy an attack's files to another folder, and remove its older files there, which belong to other verdicts.

        Args:
            keep: leave the older files if this folder has none of the attack, because the verdicts are the same.
        """
        fresh = sorted(self.folder.glob(f"{attack}.*.safetensors")) if self.folder.is_dir() else []
        if not fresh and (keep or not folder.exists()):
            return
        _no_link(folder).mkdir(exist_ok=True)
        for file in fresh:
            write_atomic(folder / file.name, partial(shutil.copyfile, file))
        for old in {file.name for file in folder.glob(f"{attack}.*.safetensors")} - {file.name for file in fresh}:
            (folder / old).unlink()

    def _file(self, attack: str, start: int) -> Path:
        return self.folder / f"{attack}.{start:06d}.safetensors"


def signed(tensors: Arrays, facts: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a file with these tensors: the facts, and a tag over tensors and facts."""
    plain = {name: value for name, value in facts.items() if name != TAG}
    return plain | {TAG: tag(_parts(tensors, plain))}


def signed_by_this_user(tensors: Arrays, facts: Mapping[str, str]) -> bool:
    """Whether this user's advdistill signed these tensors and facts."""
    return genuine(facts.get(TAG), _parts(tensors, {name: value for name, value in facts.items() if name != TAG}))


def _parts(tensors: Arrays, facts: Mapping[str, str]) -> Iterator[bytes]:
    yield json.dumps(facts, sort_keys=True).encode()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        yield f"{name} {array.dtype} {array.shape}".encode()
        yield array.tobytes()


def _attacks(result: Result) -> dict[str, list[str | int]]:
    return {m.attack: [m.settings, m.n, m.correct] for m in result.measurements}


def _counts_agree(result: Result, verdicts: Arrays, attacks: set[str]) -> bool:
    """Return whether counts and verdicts agree, for those of the attacks that have verdicts."""
    found = {m.attack: (m.correct, (m.n,)) for m in result.measurements if m.attack in attacks & verdicts.keys()}
    return all((int((verdicts[name] == 1).sum()), verdicts[name].shape) == one for name, one in found.items())


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(ordinary(file), "np") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (SafetensorError, AttributeError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}). Delete it, or run the evaluation again.") from None


def _is_ours(file: Path) -> bool:
    with suppress(ValueError):
        return signed_by_this_user(*_read(file))
    return False


def unfinished_files(path: Path | None) -> list[Path]:
    """Return the files of verdicts of an unfinished evaluation, one for each process that saved any."""
    if path is None or not path.parent.is_dir():
        return []
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(path.name))


def remove_unfinished(path: Path) -> None:
    for file in unfinished_files(path):
        file.unlink(missing_ok=True)
        drop_unfinished(file)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)


def _no_link(folder: Path) -> Path:
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and images are not written through links; delete the link.")
    return folder
