"""The two networks of an evaluation: the model that is evaluated, and the network on which attacks search."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._internal.adapter import check_module, copied, logits_of, require_gradients_
from .._internal.checks import trial
from ..acceleration.frozen import Frozen, native_bf16
from ..attacks.base import Attack
from ..data import Given, Split, as_split
from ..data.batches import to_float
from ..models.digest import digest

__all__ = [
    "ITSELF", "AttackedNetwork", "EvaluatedModel", "attacked_networks", "counting", "precision", "split_and_device",
]  # fmt: skip


class EvaluatedModel(nn.Module):
    """A frozen copy of a model in fp32 and eval mode that checks every output; the model itself is not modified.

    Raises:
        ValueError: the model does not accept the split's images, or does not return finite logits `[B, K]`, one for
            each of the split's classes; checked on two images when the copy is created, then at every call.
    """

    def __init__(self, model: nn.Module, split: Split, device: torch.device | str = "cpu"):
        super().__init__()
        self.network = _frozen(model, device)
        self.classes = split.num_classes
        logits = trial("model", self.network, to_float(split.images[:2].to(device)), f" ({split.name})")
        self._checked(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self._checked(logits_of(self.network(x), x=x))

    def _checked(self, logits: Tensor) -> Tensor:
        if logits.shape[1] != self.classes:
            raise ValueError(f"The model gives {logits.shape[1]} logits, the split has {self.classes} classes.")
        if not logits.isfinite().all():
            raise ValueError("The model gives logits that are NaN or infinite; its accuracy would mean nothing.")
        return logits


def split_and_device(model: nn.Module, data: Given, device: torch.device | str | None) -> tuple[Split, torch.device]:
    """Return the evaluation images as a split, and the device: by default that of the model's parameters.

    If the data do not name their classes, there are as many as the model has logits. Raises as `as_split`.
    """
    check_module("model", model)
    place = _device_of(model) if device is None else _device(device)
    return as_split(data, classes=counting(model, place)), place


def counting(model: nn.Module, device: torch.device | str | None = None) -> Callable[[Tensor], int | None]:
    """Return a function from images to the model's number of logits, or to `None` if it does not return logits."""
    check_module("model", model)

    def count(x: Tensor) -> int | None:
        place = _device_of(model) if device is None else device
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                return trial("model", _frozen(model, place), x.to(place)).shape[1]
        except ValueError:  # EvaluatedModel reports it
            return None

    return count


def _device(device: torch.device | str) -> torch.device:
    """Return the torch.device. Raises ValueError if it is not valid, or not in this machine."""
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be such as 'cpu', 'cuda' or 'cuda:0', got {device!r}.") from None
    count = torch.cuda.device_count()
    if place.type == "cuda" and (place.index or 0) >= count:
        raise ValueError(f"device {str(place)!r} is not here: torch finds {count} CUDA devices. Take device='cpu'.")
    return place


def _device_of(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _frozen(model: nn.Module, device: torch.device | str) -> nn.Module:
    check_module("model", model)
    return require_gradients_(copied(model).eval(), False).to(device, torch.float32)


@dataclass(frozen=True, eq=False)
class AttackedNetwork:
    """The network that attacks search on, `None` for the evaluated model, and a note for the printed settings."""

    network: nn.Module | None = None
    note: str = ""


ITSELF = AttackedNetwork()


def attacked_networks(
    attacks: list[Attack],
    model: EvaluatedModel,
    surrogate: nn.Module | None,
    split: Split,
    device: torch.device | str,
    accelerated: bool,
) -> dict[str, AttackedNetwork]:
    """Return the network that each attack searches on: model or surrogate, or with `accelerated` a fast copy of it.

    Raises:
        ValueError: a transfer attack has no surrogate, or the surrogate does not fit the split.
    """
    found = dict.fromkeys((attack.name for attack in attacks), ITSELF)
    if accelerated and not all(attack.transferred for attack in attacks):
        fast = _fast(model, split, device)
        found |= dict.fromkeys((attack.name for attack in attacks if attack.perturbs), fast)
    transferred = [attack.name for attack in attacks if attack.transferred]
    if not transferred:
        return found
    if surrogate is None:
        raise ValueError(
            f"{transferred[0]} takes its adversarial images from another model, and none was given. "
            "Give --surrogate, usually the teacher."
        )
    checked = EvaluatedModel(surrogate, split, device)
    other = _fast(checked, split, device) if accelerated else AttackedNetwork(checked)
    note = f", transferred from a model of weights {digest(checked.network)}{other.note}"
    return found | dict.fromkeys(transferred, AttackedNetwork(other.network, note))


def precision(device: torch.device | str) -> torch.dtype:
    """Return the dtype of a fast copy: bf16 if the device supports it natively, else fp32."""
    return torch.bfloat16 if native_bf16(device) else torch.float32


def _fast(network: nn.Module, split: Split, device: torch.device | str) -> AttackedNetwork:
    copy = Frozen(network, precision(device))
    copy(to_float(split.images[:2].to(device)))  # the first pass falls back to fp32 if bf16 is not supported
    # the text of saved results: they are comparable only if their settings are the same text
    return AttackedNetwork(copy, f", searched in {copy.precision}, classified in fp32")
