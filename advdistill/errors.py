"""Errors of others, said in a line of ours."""

import errno

__all__ = ["check_hugging_face", "first_line"]

UNWRITABLE = {errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS}


def first_line(error: BaseException) -> str:
    """The first line of what it says, or its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_hugging_face(error: BaseException) -> None:
    """Raise OSError saying what moves its cache, if `error` is that it cannot be written; any other is the caller's."""
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        raise OSError(f"Cannot write to Hugging Face's cache, {error.filename}: {error.strerror}; name a folder where "
                      "one can: export HF_HOME=FOLDER") from error  # fmt: skip
