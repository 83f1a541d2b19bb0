"""A dataset as its authors published it: an archive of files, looked for on disk and else fetched."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .archive import unpack
from .dataset import Folder
from .download import Remote, download
from .folders import exclusive, holds, missing, places


@dataclass(frozen=True)
class Mirror:
    """Another source of the same files: its name for the user, and what puts them into a folder."""

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
        mirror: where else to turn when the official site is not reachable.
    """

    name: str
    files: dict[str, tuple[str, ...]]
    inner: str
    remote: Remote
    mirror: Mirror | None = None

    def locate(self, split: str, folder: Folder) -> Path:
        """The folder that holds the files of `split`, unpacked from the archive or fetched if need be.

        Nothing is fetched when a folder is given.

        Raises:
            ValueError: the given folder is not the dataset, or the archive is damaged.
            ConnectionError: neither the official site nor the mirror is reachable.
        """
        searched = places(self.name, folder)
        spots = [place / inner for place in searched for inner in ("", self.inner)]
        found = next((spot for spot in spots if holds(spot, self.files[split])), None)
        return found or self._obtain(split, searched, may_fetch=not folder)

    def _obtain(self, split: str, searched: list[Path], may_fetch: bool) -> Path:
        home = next((place for place in searched if holds(place, [self.remote.name])), None)
        if home is None and not may_fetch:
            expected = [*self.files[split], f"or {self.remote.name}"]
            raise missing(self.name, searched[0], expected, self._advice())
        home = home or searched[-1]
        with exclusive(home):
            if not holds(home, self.files[split]):  # another process may have been faster
                self._fill(home)
        return home

    def _fill(self, home: Path) -> None:
        if holds(home, [self.remote.name]):
            self._unpack(home / self.remote.name)
        else:
            self._fetch(home)

    def _fetch(self, home: Path) -> None:
        self._say(f"downloading {self.remote.url}")
        try:
            archive = download(self.remote, home)
        except ConnectionError as error:
            self._fetch_mirror(home, f"the official site is not reachable ({error})")
        else:
            self._unpack(archive)
            archive.unlink()

    def _fetch_mirror(self, home: Path, reason: str) -> None:
        if self.mirror is None:
            raise ConnectionError(f"{self.name}: {reason}. {self._advice()}")
        self._say(f"{reason}, taking {self.mirror.name}")
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
            if not holds(content, files):
                raise ValueError(f"{archive} must hold {', '.join(files)} in {self.inner}, and does not.")
            for file in files:
                os.replace(content / file, archive.parent / file)

    def _advice(self) -> str:
        return f"Download {self.remote.url} and give its folder: --data.folder FOLDER."

    def _say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)
