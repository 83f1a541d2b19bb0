"""Untrusted text and YAML: regular files of bounded size, plain values only."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

__all__ = ["home", "ordinary", "parse_yaml", "printable", "read_text", "shown"]

MOST_TEXT = 2**26  # bytes
MOST_YAML = 2**16  # characters; PyYAML needs a second to parse them


def ordinary(path: Path | str) -> Path:
    """Check that the path is a regular file and return it; reading a pipe or a device could block forever.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a pipe or a device.
    """
    path = Path(path)
    if not path.is_file():
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}.")
        raise ValueError(f"{path} is a {'folder' if path.is_dir() else 'pipe or a device'}; expected a file.")
    return path


def home(path: Path | str) -> Path:
    """Return the path with `~` expanded. Raises ValueError if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path} begins with the name of an unknown user; write the whole path.") from None


def read_text(path: Path | str) -> str:
    """Return the text of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a regular file, not UTF-8, or larger than 64 MiB.
    """
    if (size := ordinary(path).stat().st_size) > MOST_TEXT:
        raise ValueError(f"{path} has {size / 1e6:,.0f} MB; expected a text file of {MOST_TEXT / 1e6:.0f} MB at most.")
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text: byte {error.start} is not UTF-8.") from None


def printable(text: object, most: int = 200) -> str:
    """Return one line without control characters, cut after `most` characters."""
    line = " ".join(str(text)[: 4 * most].split())
    return f"{shown(line[:most])}..." if len(line) > most else shown(line)


def shown(text: str, but: str = "\n") -> str:
    """Replace control characters in a text, such as a terminal's escapes, except those in `but`."""
    return "".join(c if c.isprintable() or c in but else "\N{REPLACEMENT CHARACTER}" for c in text)


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML to plain values; keys are text. Aliases are rejected: a few lines of them expand to gigabytes.

    Raises:
        ValueError: not YAML, or longer than 65,536 characters.
    """
    if len(text) > MOST_YAML:
        raise ValueError(f"{source} has {len(text):,} characters; expected a recipe of {MOST_YAML:,} at most.")
    try:
        return yaml.load(text, _Plain)  # noqa: S506
    except RecursionError:
        raise ValueError(f"{source} is not a recipe: its YAML is nested too deeply.") from None
    except Exception as error:  # PyYAML raises a dozen kinds of exceptions for values that do not fit their tags
        raise ValueError(f"{source} is not YAML: {printable(error)}") from None


class _Plain(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias, *{self.peek_event().anchor}, {self.peek_event().start_mark}; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep)
        written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((name for name in written if written.count(name) > 1), None):
            raise yaml.YAMLError(f"a field is there twice: {twice}; leave one of them")
        for name in mapping:
            if not isinstance(name, str):
                raise yaml.YAMLError(f"a field is called {name!r}, which is not text")
        return mapping
