"""The options of `data.load` for reading a user's own images."""

from dataclasses import dataclass

from ..._internal.messages import is_whole

__all__ = ["Reading"]


@dataclass(frozen=True)
class Reading:
    """Options for reading a user's own images, as documented under the same names in a recipe's `data`."""

    size: int | None = None
    stream: bool | None = False
    bits: int | None = None
    skip_broken: bool = False
    image_column: str | None = None
    label_column: str | None = None
    validation: str | None = None

    def __post_init__(self) -> None:
        for name, value, least, most in (("size", self.size, 1, 2**14), ("bits", self.bits, 9, 16)):
            if value is not None and not is_whole(value, least, most):
                raise ValueError(f"data.{name} must be a whole number from {least} to {most}, got {value!r}.")

    def column(self, what: str, columns: list[str], name: str) -> str | None:
        """Return the user's column for `image` or `label`, if given. Raises ValueError unless it exists once."""
        wanted: str | None = getattr(self, f"{what}_column")
        if wanted is not None and columns.count(wanted) != 1:
            shown = ", ".join(columns[:8]) or "nothing"
            raise ValueError(f"{name} has no column {wanted!r} (data.{what}_column); it has: {shown}.")
        return wanted

    def part(self, name: str) -> str | None:
        """Return `train`, `test` or `val` for a part's usual name or the name in `validation`, else `None`."""
        return "val" if self.validation and name.lower() == self.validation.lower() else _PART_NAMES.get(name.lower())


_PART_NAMES = {
    "train": "train", "training": "train", "test": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
