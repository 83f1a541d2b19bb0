"""Error messages: one-line summaries of third-party exceptions, and unknown names with the nearest known one."""

import difflib
import errno
from collections.abc import Iterable
from math import inf
from numbers import Integral

from .reading import printable

__all__ = ["check_between", "check_hugging_face", "first_line", "is_whole", "unknown", "unknown_kind"]

MANY = 40  # names; listing more does not help
UNWRITABLE = {errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS}


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_hugging_face(error: BaseException) -> None:
    """If Hugging Face's cache cannot be written, raise OSError with the variable to set; otherwise do nothing."""
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        raise OSError(f"Cannot write to Hugging Face's cache, {error.filename}: {error.strerror}; name a "
                      "writable folder: export HF_HOME=FOLDER") from error  # fmt: skip


def is_whole(value: object, least: float, most: float = inf) -> bool:
    """Return whether a value is a Python or NumPy integer from `least` to `most`; a boolean is not."""
    return not isinstance(value, bool) and isinstance(value, Integral) and least <= int(value) <= most


def check_between(name: str, value: float | None, low: float, high: float) -> None:
    """Raise ValueError unless a number is in `[low, high]`, or `None`."""
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {printable(value)}.")


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the ValueError to raise for a name that is not among `known`: it names the nearest one and lists all.

    If there are more than `MANY` and one is near, it lists only the ten nearest.
    """
    known = sorted(known)
    lower = {one.lower(): one for one in known}
    near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=10, cutoff=0.5)]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = f"Near: {', '.join(near)}" if near and len(known) > MANY else f"Known: {', '.join(known)}"
    return ValueError(f"Unknown {what} {name!r}.{hint} {listed}.")


def unknown_kind(kind: str, location: str, known: Iterable[str]) -> ValueError:
    """Return the ValueError to raise for a reference to a model, `location`, that begins with an unknown kind."""
    if kind in ("http", "https", "ftp"):
        return ValueError(f"{location} is a web address; download the file, and give its path.")
    kinds = ", ".join(f"{name}:" for name in known)
    what = f"{kind + ':'!r} in {location!r}"
    return ValueError(f"Unknown kind of model reference {what}. Known: {kinds} and plain paths.")
