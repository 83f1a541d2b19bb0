"""Errors of others, said in a line of ours."""

import difflib
import errno
from collections.abc import Iterable

__all__ = ["check_hugging_face", "first_line", "unknown"]

UNWRITABLE = {errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS}


def first_line(error: BaseException) -> str:
    """The first line of what it says, or its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_hugging_face(error: BaseException) -> None:
    """Raise OSError saying what moves its cache, if `error` is that it cannot be written; any other is the caller's."""
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        raise OSError(f"Cannot write to Hugging Face's cache, {error.filename}: {error.strerror}; name a folder where "
                      "one can: export HF_HOME=FOLDER") from error  # fmt: skip


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of `known`."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"Unknown {what} {name!r}.{hint} Known: {', '.join(known)}.")
