"""Downloads that continue after an interruption, and are checked before use.

Pooch is not used: it deletes an interrupted download, and does not support Google Drive's confirmation page.
"""

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

from .files import sha256

__all__ = ["Remote", "check", "check_recorded", "download"]

_TIMEOUT = 10  # seconds to connect, and to wait for more bytes
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Remote:
    """A file on the web, with its size in bytes and its sha256 if they are published."""

    url: str
    size: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def download(remote: Remote, path: Path) -> Path:
    """Download `remote` to `path`; an earlier, partial `path.part` is continued.

    If no checksum is published, that of this first download is written to `path.sha256`, so later changes are noticed.

    Returns:
        `path`.

    Raises:
        ConnectionError: the server is not reachable, offers another file or a web page, or stops sending.
        ValueError: the content is not what was expected; it is deleted.
    """
    part = path.with_name(f"{path.name}.part")
    have, total = _size(part), remote.size
    while total is None or have < total:
        total = _continue(remote, part, have)
        now = _size(part)
        if total is None:  # the server announced no size: the bytes received are the whole file
            break
        if now <= have:
            raise ConnectionError(f"the download of {remote.url} was interrupted at {now} of {total} bytes")
        have = now
    if remote.sha256 is None:
        _record(path).write_text(f"{sha256(part)}  {path.name}\n")
    else:
        check(part, remote.sha256)
    return part.replace(path)


def check(file: Path, expected: str) -> None:
    """Delete `file` and raise ValueError unless it has the expected sha256."""
    found = sha256(file)
    if found != expected:
        file.unlink()
        raise ValueError(f"{file.name} has sha256 {found}, expected {expected}; deleted, run the same command again.")


def check_recorded(path: Path) -> None:
    """Raise ValueError if the file's sha256 differs from the one that `download` recorded."""
    record = _record(path)
    if not record.exists():
        return
    recorded, found = record.read_text().split()[0], sha256(path)
    if found != recorded:
        raise ValueError(f"{path} has sha256 {found}, but had {recorded} when it was downloaded; delete it and "
                         f"{record.name} to download it again.")  # fmt: skip


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _continue(remote: Remote, part: Path, have: int) -> int | None:
    """Append the response to `part`. Returns the size of the whole file, if the server announces it."""
    with _open(remote.url, have) as response:
        if response.headers.get_content_type() == "text/html":
            reason = "too many downloads today, a page to log in, or it was removed"
            raise ConnectionError(f"{remote.url} is a web page and not the file: {reason}")
        have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        if remote.size is not None and response.length != remote.size - have:
            raise ConnectionError(f"{remote.url} offers {response.length} bytes instead of {remote.size - have}")
        total = None if response.length is None else have + response.length
        with part.open("ab" if have else "wb") as file, _progress(response, part.stem) as stream, suppress(*_BROKEN):
            shutil.copyfileobj(stream, file)  # `part` is left in place; the next call requests the rest
    return total


def _open(url: str, have: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except _BROKEN as error:
        raise ConnectionError(str(getattr(error, "reason", error))) from error


def _progress(response: http.client.HTTPResponse, name: str) -> AbstractContextManager[BinaryIO]:
    return wrap_file(response, response.length or 0, description=name, console=Console(stderr=True))


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
