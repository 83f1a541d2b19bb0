"""How runs are doing."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Status:
    """Show how runs are doing: where they are, how long they still take, and what is wrong with them."""

    runs: Positional[tuple[Path, ...]]
    """Run folders."""
    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from ..commands.status import status

        return status(self.runs, self.json)
