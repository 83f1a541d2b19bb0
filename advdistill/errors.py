"""Errors of others, said in a line of ours."""

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    """The first line of what it says, or its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
