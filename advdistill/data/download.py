"""Downloads that survive a broken line and are checked before use."""

import http.client
import shutil
import ssl
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import wrap_file

from .._internal import files

_TIMEOUT = 5  # seconds to connect, and to wait for the next bytes
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Remote:
    """A file on the web, known in advance to the last bit."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def download(remote: Remote, folder: Path) -> Path:
    """Fetch `remote` into `folder`; what an earlier call left in the `.part` file is continued.

    Raises:
        ConnectionError: the server is not reachable, offers another file, or sends nothing more.
        ValueError: the content is not what was expected; it is deleted.
    """
    part = folder / f"{remote.name}.part"
    while (have := _size(part)) < remote.size:
        _continue(remote, part, have)
        if _size(part) <= have:
            raise ConnectionError(f"{remote.url} broke off at {have} of {remote.size} bytes")
    check(part, remote.sha256)
    return part.replace(folder / remote.name)


def check(file: Path, sha256: str) -> None:
    """Delete `file` and raise ValueError unless it has this sha256."""
    found = files.sha256(file)
    if found != sha256:
        file.unlink()
        raise ValueError(f"{file.name} has sha256 {found}, expected {sha256}; deleted, please try again.")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _continue(remote: Remote, part: Path, have: int) -> None:
    with _open(remote, have) as response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        rest = remote.size - have if resumed else remote.size
        if response.length != rest:
            raise ConnectionError(f"{remote.url} offers {response.length} bytes instead of {rest}")
        with part.open("ab" if resumed else "wb") as file, _bar(response, remote.name, rest) as stream:
            with suppress(*_BROKEN):  # what came is kept, and `download` asks for the rest
                shutil.copyfileobj(stream, file)


def _open(remote: Remote, have: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={have}-"})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except _BROKEN as error:
        raise ConnectionError(str(getattr(error, "reason", error))) from error


def _bar(response: http.client.HTTPResponse, name: str, total: int) -> AbstractContextManager[BinaryIO]:
    return wrap_file(response, total, description=name, console=Console(stderr=True))
