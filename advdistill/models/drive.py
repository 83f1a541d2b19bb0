"""Files of Google Drive: a download that survives a broken line, and a record of what came."""

import http.client
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from rich.console import Console
from rich.progress import wrap_file

from .._internal.files import sha256

URL = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
_TIMEOUT = 10  # seconds to connect, and to wait for the next bytes
_BROKEN = (OSError, http.client.HTTPException)


def download(identifier: str, path: Path) -> None:
    """Fetch a file to `path`, and its sha256 to a file beside it; what an earlier call left as `.part` is continued.

    Nobody publishes the checksums, so the first download is taken on trust and only later changes are noticed.

    Raises ConnectionError if the server is not reachable, sends a web page or nothing more.
    """
    part = path.with_name(f"{path.name}.part")
    while not _continue(URL.format(identifier), part):
        pass
    _record(path).write_text(f"{sha256(part)}  {path.name}\n")
    part.replace(path)


def check(path: Path) -> None:
    """Raise ValueError if a sha256 was recorded for the file and it has another one."""
    if not _record(path).exists():
        return
    recorded, found = _record(path).read_text().split()[0], sha256(path)
    if found != recorded:
        raise ValueError(f"{path} has sha256 {found}, but when it was downloaded {recorded}; delete both it and "
                         f"{_record(path).name} to fetch it anew.")


def _continue(url: str, part: Path) -> bool:
    """Add what comes to `part`; whether it is complete."""
    have = part.stat().st_size if part.exists() else 0
    with _open(url, have) as response:
        if response.headers.get_content_type() == "text/html":
            raise ConnectionError(f"{url} is a web page and not the file: too many downloads today, or it was removed")
        have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        total = None if response.length is None else have + response.length
        with part.open("ab" if have else "wb") as file, _bar(response, part.stem) as stream, suppress(*_BROKEN):
            copyfileobj(stream, file)  # what came is kept, and the next call asks for the rest
    now = part.stat().st_size
    if now == have and now != total:
        raise ConnectionError(f"{url} broke off at {now} of {total} bytes")
    return total in (None, now)


def _open(url: str, have: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except _BROKEN as error:
        raise ConnectionError(str(getattr(error, "reason", error))) from error


def _bar(response: http.client.HTTPResponse, name: str) -> AbstractContextManager[BinaryIO]:
    return wrap_file(response, response.length or 0, description=name, console=Console(stderr=True))


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
