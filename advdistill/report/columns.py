"""A table in a terminal of any width: a column for each attack, in parts where not all fit beside each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

__all__ = ["Columns"]

NAME, GAP = 12, 2  # characters of the narrowest column of names, and between columns


@dataclass(frozen=True)
class Columns:
    """A table with a column for each attack, below each other in parts where the terminal is too narrow for all.

    Args:
        rows: a name and its cells by attack; `None` draws a line.
        caption: a sentence below the table.
        one_line: whether cells have one line of 16 characters, else two of 9.
    """

    attacks: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, str | Text]] | None]
    caption: str
    one_line: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for attacks in self._parts(options.max_width):
            yield self._table(attacks)
        yield Text(self.caption, style="italic dim")

    def _parts(self, width: int) -> Iterator[list[str]]:
        """As many attacks at once as fit into so many characters."""
        part: list[str] = []
        for attack in self.attacks:
            if part and NAME + sum(self._width(one) + GAP for one in (*part, attack)) > width:
                yield part
                part = []
            part.append(attack)
        yield part

    def _width(self, attack: str) -> int:
        least = 16 if self.one_line else 9
        return max(least, *(len(line) for line in _in_two_lines(attack).splitlines()))

    def _table(self, attacks: Sequence[str]) -> Table:
        drawn = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
        drawn.add_column("model", overflow="fold", min_width=NAME)
        for attack in attacks:
            drawn.add_column(escape(_in_two_lines(attack)), justify="right", min_width=self._width(attack))
        for row in self.rows:
            if row is None:
                drawn.add_section()
            else:
                drawn.add_row(escape(row[0]), *(row[1].get(attack, "-") for attack in attacks))
        return drawn


def _in_two_lines(name: str, width: int = 10) -> str:
    """A long name in two lines."""
    head, hyphen, tail = name.rpartition("-")
    return f"{head}{hyphen}\n{tail}" if len(name) > width else name
