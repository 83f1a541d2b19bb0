"""A method's state, which training changes: tensors by name, some with a row for each image."""

import torch
from torch import Tensor

from .batch import Batch

__all__ = ["Memory"]


class Memory:
    """Base class with a `state`: tensors by name that are saved and resumed with a run."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def recall(self, batch: Batch, name: str, default: float | Tensor) -> Tensor:
        """Return what `remember` stored for each image, `[B, ...]`; raise ValueError without `batch.index`.

        Args:
            default: value of images for which nothing is stored: a number, or `[B, ...]` for the images of the batch.
        """
        index = batch.places(name)
        rows = torch.as_tensor(default, device=index.device)
        rows = rows if rows.ndim else rows.expand(len(index))
        if name not in self.state:
            return rows.clone()
        stored, inside = self.state[name], index < len(self.state[name])
        place = index * inside
        known = (self.state[f"{name} is stored"][place] & inside).view(-1, *[1] * (stored.ndim - 1))
        return torch.where(known, stored[place], rows.to(stored.dtype))

    def remember(self, batch: Batch, name: str, values: Tensor) -> None:
        """Store a value for each image, `[B, ...]`, in `state`, until the image is trained on again.

        Every process stores the values of the whole batch. Raises ValueError without `batch.index`.
        """
        index, flag = batch.places(name), f"{name} is stored"
        if batch.trial:
            return
        index, values = batch.gather(index), batch.gather(values)
        more = int(index.max()) + 1 - len(self.state.get(name, ()))
        for key, rows in {name: values, flag: torch.ones_like(index, dtype=torch.bool)}.items():
            if more > 0:
                empty = rows.new_zeros((more, *rows.shape[1:]))
                self.state[key] = torch.cat([self.state[key], empty]) if key in self.state else empty
            self.state[key][index] = rows
