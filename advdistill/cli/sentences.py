"""Turn tyro's multi-line error boxes into one-sentence errors."""

import io
import os
import re
import sys
from ast import literal_eval
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import tyro

from .._internal.messages import unknown

__all__ = ["HELP", "parsed"]

HELP = ("-h", "--help")
UNWRAPPED = "9999"  # columns: so wide that tyro breaks neither lines nor paths
KINDS = {"INT": "a whole number", "FLOAT": "a number", "{None}": "None", "{True,False}": "True or False"}


def parsed(kind: Any, *, args: Sequence[str], **options: Any) -> Any:
    """Call `tyro.cli`, and raise its errors as ValueError; its help is printed unchanged.

    Raises:
        ValueError: unknown or malformed arguments, or a value that the command rejects.
        SystemExit: after `--help`.
    """
    if any(word in HELP for word in args):
        return tyro.cli(kind, args=args, **options)
    box = io.StringIO()
    try:
        with _wide(), redirect_stderr(box):
            found = tyro.cli(kind, args=args, **options)
    except SystemExit as left:
        if not left.code:
            raise
        program = options.get("prog", "advdistill")
        typed = program == "advdistill" and args and not args[0].startswith("-")
        raise _refusal(box.getvalue(), f"{program} {args[0]}" if typed else program) from None
    sys.stderr.write(box.getvalue())  # warnings from creating the arguments' values
    return found


@contextmanager
def _wide() -> Iterator[None]:
    """Inside the `with` block, set the terminal's width so high that tyro breaks no line."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = UNWRAPPED
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _refusal(box: str, command: str) -> ValueError:
    """Return a box such as `Error parsing --epochs: ...` as a one-sentence error; it may name `command`."""
    text, *after = _parts(box)
    if found := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of (\(.*\))\.$", text):
        value, flag, choices = found.groups()
        return unknown(flag, value, sorted(set(literal_eval(choices)) - {"None"}))
    if found := re.match(r"Error parsing (?!-)[\w.-]*: (.*)$", text):  # a part of a recipe; the message has the field
        return ValueError(found[1])
    if found := re.match(r"Error parsing (\S+): no type matching (\S+) could be instantiated from (\[.*?\])\.", text):
        return ValueError(f"{found[1]} must be {_expected(found[2].split('|'))}, got {_typed(found[3])}.")
    for said, kind in (("invalid literal for int", "INT"), ("could not convert string to float", "FLOAT")):
        if found := re.match(rf"Error parsing (\S+): {said}.*: ('.*')$", text):
            return ValueError(f"{found[1]} must be {KINDS[kind]}, got {found[2]}.")
    if found := re.match(r"Missing from (.*?): (--\S+ )?\S+ (.*) \(required\)$", text):
        return ValueError(f"{found[1]} needs {(found[2] or 'an argument').strip()}: {found[3].rstrip('.')}.")
    if not text:
        return ValueError(box)
    if text.startswith("Unrecognized options: "):
        near = after[0] if after and after[0].startswith("Perhaps you meant:") else ""
        here = "in advdistill" not in near or f"in {command} --help" in near
        like = f" Did you mean {found[0]}?" if here and (found := re.search(r"--[\w.-]+", near)) else ""
        words = text.removeprefix("Unrecognized options: ").split(", ")
        flags = [word for word in words if word.startswith("-")]
        what = "Unrecognized options" if flags else "Unexpected argument" if len(words) == 1 else "Unexpected arguments"
        return ValueError(f"{what}: {', '.join(flags or words)}.{like} See {command} --help.")
    return ValueError(f"{text.removesuffix('.')}. See {command} --help.")


def _parts(box: str) -> list[str]:
    """Return the texts between a box's rules, each as one line, without the title (above a rule or in the frame)."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    ruled = ["\n" if re.fullmatch("-{3,}|─{3,}", line) else line for line in lines]
    parts = [" ".join(part.split()) for part in " ".join(ruled).split("\n")]
    return parts if "╭" in box else parts[1:] or parts


def _expected(kinds: Sequence[str]) -> str:
    return " or ".join(sorted((KINDS.get(kind, kind) for kind in kinds), key=lambda kind: kind == "None"))


def _typed(words: str) -> str:
    return " ".join(map(repr, literal_eval(words)))
