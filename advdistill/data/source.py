"""How known datasets are described, and where their files come from: a folder, an archive or a download."""

import gzip
import os
import platform
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from .._internal.cache import cache, writable
from .._internal.download import Remote, download

__all__ = [
    "GIVE_FOLDER",
    "Dataset",
    "Folder",
    "Mirror",
    "Release",
    "contains",
    "exclusive",
    "missing",
    "places",
    "unpack",
]

Folder = str | os.PathLike[str] | None
GIVE_FOLDER = "--data.folder FOLDER (train) or --folder FOLDER (evaluate)"


@dataclass(frozen=True)
class Dataset:
    """A dataset and how to read it.

    Args:
        name: the name that users give.
        classes: the class names, in the order of the labels.
        shape: channels, height and width of one image.
        sizes: number of images of each split.
        source: its origin, in a few words.
        how: how to get it, in one line.
        read: maps `(split, folder)` to uint8 images `[N, C, H, W]` and int64 labels `[N]`.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    sizes: dict[str, int]
    source: str
    how: str
    read: Callable[[str, Folder], tuple[Tensor, Tensor]]


_SHOWN = 6


def places(name: str, folder: Folder) -> list[Path]:
    """Return the folders that are searched for a dataset, in order; a download goes into the last one."""
    base = Path(folder).expanduser() if folder else cache("data")
    return [base, base / name]


def contains(place: Path, files: Sequence[str]) -> bool:
    """Return whether the folder `place` has all these files."""
    return all((place / file).is_file() for file in files)


def missing(name: str, place: Path, files: Sequence[str], how: str) -> ValueError:
    """Return the error for a folder without the dataset: what was expected, what is there, what to do."""
    return ValueError(f"{name}: expected {', '.join(files)} in {place}; found {_content(place)}. {how}")


def _content(place: Path) -> str:
    if not place.is_dir():
        return "no such folder"
    content = sorted(entry.name for entry in place.iterdir())
    more = f" and {len(content) - _SHOWN} more" if len(content) > _SHOWN else ""
    return ", ".join(content[:_SHOWN]) + more or "an empty folder"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock `folder` (created if needed), so that one process at a time downloads into it."""
    import fcntl  # does not exist on Windows; only downloading needs it

    writable(folder, "data")
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    with os.fdopen(os.open(folder / ".lock", flags, 0o666)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Mirror:
    """Another source of the same files: its name, and a function that puts them into a folder."""

    name: str
    fetch: Callable[[Path], None]


@dataclass(frozen=True)
class Release:
    """The files of a dataset and where they are published.

    Args:
        name: the dataset's name.
        files: the files of each split, in order.
        inner: the folder inside the archive.
        remote: the official archive.
        mirror: used when the official site is not reachable.
    """

    name: str
    files: dict[str, tuple[str, ...]]
    inner: str
    remote: Remote
    mirror: Mirror | None = None

    def locate(self, split: str, folder: Folder) -> Path:
        """Return the folder that holds the files of `split`, unpacked from the archive or downloaded if needed.

        Nothing is downloaded when a folder is given.

        Raises:
            ValueError: the given folder does not hold the dataset, or the archive is damaged.
            ConnectionError: neither the official site nor the mirror is reachable.
        """
        searched = places(self.name, folder)
        spots = [place / inner for place in searched for inner in ("", self.inner)]
        found = next((spot for spot in spots if contains(spot, self.files[split])), None)
        return found or self._obtain(split, searched, may_fetch=not folder)

    def _obtain(self, split: str, searched: list[Path], may_fetch: bool) -> Path:
        home = next((place for place in searched if contains(place, [self.remote.name])), None)
        if home is None and not may_fetch:
            expected = [*self.files[split], f"or {self.remote.name}"]
            raise missing(self.name, searched[0], expected, self._advice())
        home = home or searched[-1]
        with exclusive(home):
            if not contains(home, self.files[split]):  # another process may have been faster
                self._fill(home)
        return home

    def _fill(self, home: Path) -> None:
        if contains(home, [self.remote.name]):
            self._unpack(home / self.remote.name)
        else:
            self._fetch(home)

    def _fetch(self, home: Path) -> None:
        self._say(f"downloading {self.remote.url}")
        try:
            archive = download(self.remote, home / self.remote.name)
        except ConnectionError as error:
            self._fetch_mirror(home, f"the official site is not reachable ({error})")
        else:
            self._unpack(archive)
            archive.unlink()

    def _fetch_mirror(self, home: Path, reason: str) -> None:
        if self.mirror is None:
            raise ConnectionError(f"{self.name}: {reason}. {self._advice()}")
        self._say(f"{reason}, downloading from {self.mirror.name}")
        try:
            self.mirror.fetch(home)
        except ConnectionError as error:
            reason = f"{reason}, and {self.mirror.name} failed ({error})"
            raise ConnectionError(f"{self.name}: {reason}. {self._advice()}") from error

    def _unpack(self, archive: Path) -> None:
        files = [file for split in self.files.values() for file in split]
        with TemporaryDirectory(dir=archive.parent) as scratch:
            unpack(archive, Path(scratch))
            content = Path(scratch, self.inner)
            if not contains(content, files):
                raise ValueError(f"{archive} must contain {', '.join(files)} in {self.inner}, and does not.")
            for file in files:
                os.replace(content / file, archive.parent / file)

    def _advice(self) -> str:
        return f"Download {self.remote.url} and give its folder: {GIVE_FOLDER}."

    def _say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)


_MOST_UNPACKED = 256 * 2**20
_LEAST = 2**16  # counted for each file, even an empty one: 4,096 files at most
_HEADER = 2**20  # bytes of one read: a block of content, or a header, whose size is announced in the file
_FAULTS = (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, KeyError, IndexError, RecursionError)


class _Pieces(gzip.GzipFile):
    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _HEADER:
            raise tarfile.TarError("one of its headers is too large")
        return super().read(size)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` into `folder`.

    Raises:
        ValueError: the archive is damaged, larger than 256 MiB unpacked, or has paths outside `folder`; or this Python
            is older than 3.11.4, the first with safe unpacking.
    """
    if not hasattr(tarfile, "data_filter"):
        old = f"Python {platform.python_version()} cannot unpack {archive} safely"
        raise ValueError(f"{old}; use 3.11.4 or newer, or unpack it yourself.")
    room = _MOST_UNPACKED
    try:
        with _Pieces(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                room -= max(member.size, _LEAST)
                if room < 0:
                    raise tarfile.TarError(f"it grows too large at {member.name!r}")
                tar.extract(member, folder, filter="data")
    except _FAULTS as error:
        raise ValueError(f"{archive} cannot be unpacked: {error}.") from error
