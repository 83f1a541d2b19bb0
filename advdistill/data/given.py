"""Convert users' data to a `Split`: arrays, datasets of PyTorch and of Hugging Face, and their loaders."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from .batches import to_float
from .forms import as_images, as_labels, as_tensor, compact
from .loader import class_names, collated, is_loader, iterate, name_of, pairs
from .own.pictures import Unreadable, decode
from .own.stack import check_room
from .split import Split
from .streamed import Streamed

__all__ = ["Given", "as_split"]

Given: TypeAlias = Split | Dataset[Any] | Iterable[Any]
EXPECTED = "a Split, (x, y), a TensorDataset, a DataLoader, or a Dataset of (image, label)"
TOGETHER = 256  # images of a Dataset stacked at once


@dataclass(frozen=True)
class _Source:
    """Batches of images and labels, the data's name and, if known, the class names and the length."""

    batches: Iterable[tuple[Any, Any]]
    name: str
    classes: tuple[str, ...] | None = None
    length: int | None = None


def as_split(
    data: Given,
    name: str | None = None,
    classes: int | Sequence[str] | Callable[[Tensor], int | None] | None = None,
) -> Split:
    """Return a split, held in memory, of images and labels in any supported form, in their order.

    Pixel values do not change: they are uint8 if each is exactly n/255, else float32. A DataLoader or Dataset is
    iterated once; its draws from torch's global generator are the same each time, and the generator's state does not
    change.

    Args:
        data: a `Split`; images and labels `(x, y)`, tensors or arrays on any device; a `TensorDataset`; a `DataLoader`
            of such pairs, or any other loader with a length; a Hugging Face `Dataset`; a map-style `Dataset` of
            (image or picture of Pillow, label). Images are `[N, C, H, W]`, uint8 or floats in [0, 1].
        name: name of the data in results; by default taken from the data.
        classes: the class names, their number, or a function that returns the number, given the first two images in
            [0, 1]. By default the data's own names, else "0" to the largest label.

    Returns:
        The split, on the CPU.

    Raises:
        ValueError: unsupported type, shape or range of images or labels; or their columns cannot be identified.
        TypeError: `data` is of another kind.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> x, y = torch.rand(40, 3, 8, 8), torch.arange(40) % 4
        >>> split, same = as_split((x, y)), as_split(DataLoader(TensorDataset(x, y), batch_size=16))
        >>> len(split), split.classes, split.fingerprint() == same.fingerprint()
        (40, ('0', '1', '2', '3'), True)
    """
    if isinstance(data, Split):
        return _on_cpu(data, name)
    source = _source(data)
    name = name or source.name
    images, labels = _gathered(source, name)
    largest = int(labels.max()) + 1
    known = source.classes if source.classes and len(source.classes) >= largest else None
    if classes is None or callable(classes):
        counted = classes(to_float(images[:2])) if callable(classes) and known is None else None
        names = known or tuple(map(str, range(counted or max(1, largest))))
    else:
        names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    return Split(images, labels, names, name)


def _on_cpu(split: Split, name: str | None) -> Split:
    images, labels = split.images, split.labels.cpu()
    if not isinstance(images, Streamed):
        images = compact(as_images(images.cpu(), split.name))
    unchanged = images is split.images and labels is split.labels and name in (None, split.name)
    return split if unchanged else replace(split, images=images, labels=labels, name=name or split.name)


def _source(data: Any) -> _Source:
    """Raises TypeError if `data` is of no supported kind."""
    kind = type(data).__name__
    if isinstance(data, str | os.PathLike):
        raise TypeError(f"{os.fspath(data)!r} is a name, not data. Load it: ad.data.load({os.fspath(data)!r}, 'test').")
    if isinstance(data, nn.Module):
        raise TypeError(f"The data are a model, {kind}; expected {EXPECTED}. Were model and data swapped?")
    if isinstance(data, Mapping):
        keys = ", ".join(map(str, list(data)[:8]))
        if kind == "DatasetDict":
            raise TypeError(f"A DatasetDict has several splits: {keys}. Give one of them: data[{next(iter(data))!r}].")
        raise TypeError(f"The data are a {kind} with the keys {keys}; expected {EXPECTED}.")
    if _is_hugging_face(data):
        return _hugging_face(data)
    if type(data) is TensorDataset:
        return _Source(pairs([data.tensors], kind), kind)
    if isinstance(data, tuple | list) and all(isinstance(part, Tensor | np.ndarray) for part in data[:1]):
        return _Source(pairs([data], kind), "(x, y)")
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], list):
        raise TypeError("The images are a list, not a tensor or array; give (torch.stack(images), labels).")
    if is_loader(data):
        loaded = pairs(collated(iterate(data, 0), kind), kind)
        return _Source(loaded, name_of(data), class_names(data), _length(getattr(data, "dataset", None)))
    if isinstance(data, Tensor | np.ndarray):
        raise TypeError(f"The data are one {kind}, without labels; expected {EXPECTED}.")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        rows = (data[i] for i in range(len(data)))
        return _Source(_stacked(pairs(iterate(rows, 0), kind), kind), name_of(data), class_names(data), len(data))
    remedy = " It has no length: put its dataset in a DataLoader." if isinstance(data, Iterable) else ""
    raise TypeError(f"The data are a {kind}; expected {EXPECTED}.{remedy}")


def _length(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None


def _stacked(rows: Iterator[tuple[Any, Any]], kind: str) -> Iterator[tuple[Tensor, Any]]:
    """Stack single images and labels into batches."""
    while part := list(islice(rows, TOGETHER)):
        images, labels = [_image(image, kind) for image, _ in part], [label for _, label in part]
        tensors = all(isinstance(label, Tensor) for label in labels)
        yield torch.stack(_alike(images, kind)), torch.stack(labels) if tensors else labels


def _image(given: Any, kind: str) -> Tensor:
    """Return `[C, H, W]` from a tensor, an array or a Pillow image."""
    if (pillow := sys.modules.get("PIL.Image")) and isinstance(given, pillow.Image):
        try:
            pixels = torch.from_numpy(decode(given).copy())
        except Unreadable as error:
            raise ValueError(f"{kind} has a picture that cannot be read: {error}.") from None
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    if not isinstance(given, Tensor | np.ndarray):
        raise ValueError(f"{kind} has an image of type {type(given).__name__}; expected a tensor [C, H, W] or a "
                         "picture of Pillow.")  # fmt: skip
    image = as_tensor(given, f"{kind}: images")
    if image.ndim != 3:
        raise ValueError(f"{kind} has an image of shape {list(image.shape)}; expected [C, H, W].")
    return image.cpu()


def _alike(images: list[Tensor], kind: str) -> list[Tensor]:
    """Check that images, or batches, have one size; if some are in colour, expand grey ones to three channels."""
    sizes = {image.shape[-2:] for image in images}
    channels = sorted({image.shape[-3] for image in images})
    if len(sizes) > 1 or (len(channels) > 1 and channels != [1, 3]):
        forms = sorted({tuple(image.shape[-3:]) for image in images})
        first, last = (" x ".join(map(str, form)) for form in (forms[0], forms[-1]))
        raise ValueError(f"{kind}: its images differ in size, from {first} to {last}. Resize them to one.")
    return [image.expand(*image.shape[:-3], channels[-1], -1, -1) for image in images]


def _gathered(source: _Source, name: str) -> tuple[Tensor, Tensor]:
    """Return all images and labels, on the CPU."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for x, y in source.batches:
        images.append(compact(as_images(x, name).cpu()))
        labels.append(as_labels(y, name).cpu())
        if len(images[-1]) != len(labels[-1]):
            raise ValueError(f"{name}: {len(images[-1])} images but {len(labels[-1])} labels.")
        if len(images) == 1 and source.length is not None:  # joining them takes the memory twice
            check_room(name, 2 * source.length * images[0][0].nbytes)
    if not images:
        raise ValueError(f"{name}: there are no images.")
    if len({part.dtype for part in images}) > 1:
        images = [to_float(part) for part in images]
    alike = _alike(images, name)
    return (alike[0] if len(alike) == 1 else torch.cat(alike)).contiguous(), torch.cat(labels)


def _is_hugging_face(data: object) -> bool:
    return hasattr(data, "features") and hasattr(data, "with_format")


def _hugging_face(data: Any) -> _Source:
    """Read a `datasets.Dataset`, whose columns of images and labels are recognised by their types."""
    if not hasattr(data, "__len__"):
        raise TypeError("A streaming Hugging Face dataset has no length. Load it without streaming=True.")
    if data.format["type"] == "custom":
        raise ValueError("The Hugging Face Dataset has a transform of its own. Put it in a DataLoader whose collate_fn "
                         "returns (images, labels), or take the transform off: data.with_format(None).")  # fmt: skip
    kinds = {column: type(feature).__name__ for column, feature in data.features.items()}
    whole = [column for column, kind in kinds.items() if kind == "Value" and "int" in data.features[column].dtype]
    image = _column("images", [column for column, kind in kinds.items() if kind == "Image"], ("image", "img"), kinds)
    named = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    label = _column("labels", named or whole, ("label",), kinds)
    rows = data.with_format(None).select_columns([image, label])
    items = ((row[image], row[label]) for row in rows)
    name = f"{data.info.dataset_name or 'Dataset'}/{data.split or 'all'}"
    classes = tuple(data.features[label].names) if named else None
    return _Source(_stacked(items, name), name, classes, len(data))


def _column(what: str, found: list[str], preferred: tuple[str, ...], kinds: dict[str, str]) -> str:
    chosen = next((name for name in preferred if name in found), found[0] if len(found) == 1 else None)
    if chosen is not None:
        return chosen
    shown = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
    several = f"several columns that may be the {what}: {', '.join(found)}. Keep one of them: data.remove_columns(...)"
    none = f"no column of {what}; give one with data.cast_column(...)"
    raise ValueError(f"The Hugging Face Dataset has {several if found else none}. Its columns: {shown}.")
