"""Error messages: one-line summaries of third-party exceptions, and unknown names with the nearest known one."""

import difflib
import errno
from collections.abc import Iterable

from .reading import printable

__all__ = ["check_between", "check_hugging_face", "first_line", "unknown"]

UNWRITABLE = {errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS}


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its class name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_hugging_face(error: BaseException) -> None:
    """If Hugging Face's cache cannot be written, raise OSError with the variable to set; otherwise do nothing."""
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        raise OSError(f"Cannot write to Hugging Face's cache, {error.filename}: {error.strerror}; name a "
                      "writable folder: export HF_HOME=FOLDER") from error  # fmt: skip


def check_between(name: str, value: float | None, low: float, high: float) -> None:
    """Raise ValueError unless a number is in `[low, high]`, or `None`."""
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {printable(value)}.")


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The ValueError to raise for a name that is not among `known`: it names the nearest one and lists all."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"Unknown {what} {name!r}.{hint} Known: {', '.join(known)}.")
