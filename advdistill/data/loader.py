"""Loaders of batches, PyTorch's or others: recognise them, check what they yield and control their random draws."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from .._internal.rng import generator
from .streamed import begin

__all__ = ["class_names", "collated", "is_loader", "iterate", "name_of", "pair", "pairs"]


def is_loader(data: object) -> bool:
    """Return whether `data` yields batches: a DataLoader, or another iterable with a length and without indexing."""
    if isinstance(data, DataLoader):
        return True
    others = hasattr(data, "__iter__") and hasattr(data, "__len__") and not hasattr(data, "__getitem__")
    return others and not isinstance(data, Mapping | set | frozenset)


def name_of(data: Any) -> str:
    """Return the name of the class of a dataset, or of a loader's dataset."""
    return type(getattr(data, "dataset", data)).__name__


def class_names(data: Any) -> tuple[str, ...] | None:
    """Return the class names that torchvision's datasets store as `classes`; `None` if there are none."""
    dataset = getattr(data, "dataset", data) if is_loader(data) else data
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    found = getattr(dataset, "classes", None)
    if not isinstance(found, list | tuple) or not found:
        return None
    return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in found)


def iterate(batches: Iterable[Any], *key: int) -> Iterator[Any]:
    """Yield the elements with torch's global generator seeded by `key`; draws elsewhere are not affected."""
    state, iterator = generator("loader", *key).get_state(), None
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            try:
                if iterator is None:
                    with _own_process_group(batches):
                        iterator = iter(batches)
                batch = next(iterator)
            except StopIteration:
                return
            state = torch.get_rng_state()
        yield batch


@contextmanager
def _own_process_group(batches: Iterable[Any]) -> Iterator[None]:
    """Move worker processes that a DataLoader starts in this context out of the run's process group.

    A signal that stops the run goes to the whole group, and the run needs its workers to save its state.
    """
    if not isinstance(batches, DataLoader):
        yield
        return
    own = batches.worker_init_fn
    batches.worker_init_fn = partial(_start_worker, own)
    try:
        yield
    finally:
        batches.worker_init_fn = own


def _start_worker(own: Callable[[int], object] | None, worker: int) -> None:
    begin(worker)
    if own is not None:
        own(worker)


def pairs(elements: Iterable[Any], kind: str) -> Iterator[tuple[Any, Any]]:
    """Yield `pair` of each element."""
    for element in elements:
        yield pair(element, kind)


def pair(element: Any, kind: str) -> tuple[Any, Any]:
    """Return the images and labels, or the image and label, of an element of `kind`. Raises ValueError otherwise."""
    if isinstance(element, tuple | list) and len(element) == 2:
        return element[0], element[1]
    if isinstance(element, Mapping):
        keys = ", ".join(map(str, element))
        raise ValueError(f"{kind} yields dictionaries ({keys}); expected (images, labels). Give a DataLoader whose "
                         "collate_fn returns the two.")  # fmt: skip
    parts = len(element) if isinstance(element, tuple | list) else 1
    without = ", which leaves no labels" if parts == 1 else ""
    raise ValueError(f"{kind} yields {parts} element(s){without}; expected two, images and labels.")


def collated(batches: Iterator[Any], kind: str) -> Iterator[Any]:
    """Yield the batches; replace errors of PyTorch's default collate function by a ValueError with advice."""
    try:
        yield from batches
    except (RuntimeError, TypeError) as error:
        if "equal size" in str(error):
            raise ValueError(f"{kind}: its images differ in size. Resize them to one, in its transforms.") from error
        if "default_collate" in str(error):
            raise ValueError(f"{kind} cannot make batches of pictures. Make them tensors, in its transforms "
                             "(torchvision's ToTensor).") from error  # fmt: skip
        raise
