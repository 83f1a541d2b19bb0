"""What training changes in a method: tensors by name, some with a row for each image."""

import torch
from torch import Tensor

from .batch import Batch

__all__ = ["Memory"]


class Memory:
    """Tensors by name, `state`, which are saved and resumed with a run."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def recall(self, batch: Batch, name: str, default: float | Tensor) -> Tensor:
        """What `remember` stored for each image of the batch, `[B, ...]`; ValueError without `batch.index`.

        Args:
            default: for images of which nothing is stored: a number, or `[B, ...]` for these images.
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
        """Store a value of each image, `[B, ...]`, in `state`, for the next time that the image is trained on.

        Every process stores those of the whole batch. ValueError without `batch.index`.
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
