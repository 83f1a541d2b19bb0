"""What fits into this machine's memory."""

from pathlib import Path

__all__ = ["TooLarge", "check_room", "free_memory"]


class TooLarge(ValueError):
    """Images that do not fit into the memory."""


def free_memory() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def check_room(what: str, need: int) -> None:
    """Raise ValueError unless `need` bytes are free: a small file may unpack to anything."""
    free = free_memory()
    if free is not None and need > free:
        raise ValueError(f"{what} needs {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free.")
