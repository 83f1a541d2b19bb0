"""Read files of `torch.save` without running code; errors say in a sentence what the file is or holds."""

import io
import pickle
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

import torch
from torch import Tensor

from .._internal.messages import first_line
from .._internal.reading import printable
from .file_kinds import ZIP, check_kind
from .pickles import Program, TooExpensive, follow

__all__ = ["check_tensors", "load_torch"]

SHARED = 4  # tensors that share storage may add up to this many times the file's size
MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save's format before zips: five pickles, then the numbers
PICKLES = 5
PROTOCOL = 2
SAVE = "save model.state_dict() alone"
RESAVE = "save it again: torch.save(model.state_dict(), FILE)"
TENSORS = {
    "qtensor": "quantised", "sparse_tensor": "sparse", "sparse_csr_tensor": "sparse",
    "meta_tensor_no_storage": "without values (on the device meta)", "nested_tensor": "nested",
}  # fmt: skip


def load_torch(file: BinaryIO, name: str) -> object:
    """Return the object in a file of `torch.save`.

    Raises ValueError if the file is of another kind, is damaged, could run code, or unpacks to more than its size.
    """
    check_kind(file, name)
    try:
        zipped = _is_zip(file)
        programs = list(_programs(file, zipped))
    except TooExpensive:
        raise ValueError(f"{name} would take far too long to unpickle for its size, so it was not opened; it may be "
                         f"malicious. If it is not, {SAVE}.") from None
    except Exception as error:  # damaged bytes surface as ValueError, IndexError, KeyError, RuntimeError and more
        raise _damaged(name) from error
    for program in programs:
        _check_safe(program, name)
    if programs[0].root.kind != "number" and not zipped:
        raise ValueError(f"{name} is a plain pickle (pickle.dump) of a {programs[0].root.kind}, not a file of "
                         f"torch.save; {RESAVE}.")
    try:
        file.seek(0)
        return torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError(f"{name} holds what PyTorch does not read without running code "
                         f"({printable(first_line(error), 80)}); {SAVE}.") from error
    except Exception as error:
        raise _damaged(name) from error


def _damaged(name: str) -> ValueError:
    return ValueError(f"{name} is truncated or not a PyTorch checkpoint; copy it anew.")


def _programs(file: BinaryIO, zipped: bool) -> Iterable[Program]:
    """Yield the pickles that torch.load will read, found with the reader that torch.load uses."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if zipped:
        yield follow(io.BytesIO(torch._C.PyTorchFileReader(file).get_record("data.pkl")), size)
        return
    first = follow(file, size)
    yield first
    for _ in range(PICKLES - 1 if first.root.content == MAGIC else 0):
        yield follow(file, size)


def _check_safe(program: Program, name: str) -> None:
    found, root = program.unsafe(), program.root
    if found is None:
        if program.protocol > PROTOCOL:
            raise ValueError(f"{name} was pickled with protocol {program.protocol}, of which PyTorch reads {PROTOCOL} "
                             f"without running code; {RESAVE}.")
        return
    what, path = found
    where = f" under {printable(path, 80)}" if path else ""
    tensor = TENSORS.get(what.removeprefix("torch._utils._rebuild_"))
    if tensor:
        raise ValueError(f"{name} holds a tensor that is {tensor}{where}; save the network's plain float weights.")
    thing = printable(what)
    if not path and any(key == "_modules" for key, _ in root.parts):
        thing = f"a whole network, an object of the class {thing}"
    raise ValueError(f"{name} holds {thing}{where}, which could run code, so it was not opened; "
                     f"where you trust it, {SAVE}.")


def check_tensors(tensors: Iterable[Tensor], size: int, name: str) -> None:
    """Raise ValueError unless the tensors are plain and fit in a file of `size` bytes: a shape may claim any size."""
    room = SHARED * size
    for tensor in tensors:
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ValueError(f"{name} holds a tensor that is sparse, quantised or without values; save plain ones.")
        shown = tensor.numel() * tensor.element_size()
        room -= shown
        if room < 0 or shown > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} announces tensors that its {size:,} bytes cannot hold; copy it anew.")


def _is_zip(file: BinaryIO) -> bool:
    """Whether this is a zip. Raises ValueError if it unpacks to more than its size: `torch.save` never compresses."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(len(ZIP)) != ZIP:
        return False
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise ValueError
    return True
