"""What `torch.save` wrote, opened without trusting it: no code runs, and no tensor is larger than the file."""

import io
import pickle
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

import torch
from torch import Tensor

__all__ = ["check_tensors", "load"]

ZIP = b"PK\x03\x04"
SHARED = 4  # so many times the file's bytes may be shown by tensors that share their storage


def load(file: BinaryIO, name: str) -> object:
    """The object in a file of `torch.save`.

    Raises ValueError if it is damaged, could run code, or unpacks to more than its size.
    """
    try:
        _check_size(file)
        return torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError(f"{name} is damaged or holds objects that could run code, so it was not opened; "
                         "where you trust it, save model.state_dict() alone.") from error
    # Damaged bytes surface as RuntimeError, OSError, EOFError, KeyError, struct.error and more.
    except Exception as error:
        raise ValueError(f"{name} is truncated or not a PyTorch checkpoint; copy it anew.") from error


def check_tensors(tensors: Iterable[Tensor], size: int, name: str) -> None:
    """Raise ValueError unless they are plain and lie in a file of `size` bytes: a shape alone may announce anything."""
    room = SHARED * size
    for tensor in tensors:
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ValueError(f"{name} holds a tensor that is sparse, quantised or without values; save plain ones.")
        shown = tensor.numel() * tensor.element_size()
        room -= shown
        if room < 0 or shown > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} announces tensors that its {size:,} bytes cannot hold; copy it anew.")


def _check_size(file: BinaryIO) -> None:
    """`torch.save` never compresses: a zip that would unpack to more than it has is none of its files."""
    if file.read(len(ZIP)) == ZIP:
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError
    file.seek(0)
