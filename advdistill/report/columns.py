"""A table with a column for each attack, split into several if the terminal is too narrow for all columns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["Columns", "Name", "pieces"]

NAME, LONGEST, GAP = 12, 24, 2  # least and most characters of the column of names; characters between columns


def pieces(name: str) -> list[str]:
    """Split a name where a line may be broken: after `_`, `-`, `.`, `/` and spaces.

    >>> pieces("robust_resnet18-v2.json")
    ['robust_', 'resnet18-', 'v2.', 'json']
    """
    return re.findall(r"[^-_./\s]*[-_./\s]+|[^-_./\s]+", name)


@dataclass(frozen=True)
class Name:
    """A name in a cell: lines break between its `pieces`, and within a piece only if it is wider than the column."""

    text: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        least = min(max(map(cell_len, pieces(self.text)), default=1), LONGEST)
        return Measurement(least, max(cell_len(self.text), 1)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for piece in pieces(self.text):
            for part in chop_cells(piece, options.max_width):
                if cell_len(lines[-1] + part.rstrip()) <= options.max_width:
                    lines[-1] += part
                else:
                    lines.append(part)
        yield Text("\n".join(line.rstrip() for line in lines))


@dataclass(frozen=True)
class Columns:
    """A table with a column for each attack; if the terminal is too narrow, several tables below each other.

    Args:
        rows: for each row a name and its cells by attack; `None` draws a line.
        caption: a sentence below the table.
        one_line: whether each cell has one line of at least 16 characters; otherwise two lines of at least 9.
    """

    attacks: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, str | Text]] | None]
    caption: str
    one_line: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for attacks in self._parts(options.max_width):
            yield self._table(attacks, self._name(options.max_width))
        yield Text(self.caption, style="italic dim")

    def _name(self, width: int) -> int:
        """Return the least width of the column of names, such that any one attack fits beside it into `width`."""
        longest = max((cell_len(piece) for row in self.rows if row for piece in pieces(row[0])), default=0)
        room = width - max(map(self._width, self.attacks), default=0) - GAP
        return max(NAME, min(longest, LONGEST, room))

    def _parts(self, width: int) -> Iterator[list[str]]:
        """Split the attacks into groups whose tables fit into `width` characters."""
        part: list[str] = []
        for attack in self.attacks:
            if part and self._name(width) + sum(self._width(one) + GAP for one in (*part, attack)) > width:
                yield part
                part = []
            part.append(attack)
        yield part

    def _width(self, attack: str) -> int:
        least = 16 if self.one_line else 9
        return max(least, *(len(line) for line in _in_two_lines(attack).splitlines()))

    def _table(self, attacks: Sequence[str], name: int) -> Table:
        drawn = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
        drawn.add_column("model", min_width=name)
        for attack in attacks:
            drawn.add_column(escape(_in_two_lines(attack)), justify="right", min_width=self._width(attack))
        for row in self.rows:
            if row is None:
                drawn.add_section()
            else:
                drawn.add_row(Name(row[0]), *(row[1].get(attack, "-") for attack in attacks))
        return drawn


def _in_two_lines(name: str, width: int = 10) -> str:
    """Return a name in two lines if it is longer than `width`, broken after its last hyphen."""
    head, hyphen, tail = name.rpartition("-")
    return f"{head}{hyphen}\n{tail}" if len(name) > width else name
