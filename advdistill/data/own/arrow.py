"""Read Apache Arrow tables: .parquet files, folders written by Hugging Face's `save_to_disk`, datasets on the hub.

Images are a column of {bytes, path} or of bytes, and classes a column of labels.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..._internal.messages import check_hugging_face, first_line
from ..._internal.packages import require
from .collection import Found
from .pictures import Encoded, Unreadable, open_picture, printable_name
from .reading import Reading
from .stack import check_room

__all__ = ["EXTRA", "is_saved", "read_hugging_face", "read_parquet"]

EXTRA = "parquet"
ROWS = 16  # rows read at once
SLACK = 2**24  # bytes of tolerance if a file unpacks to more than it states


def read_parquet(path: Path, reading: Reading) -> Found:
    """Read a `.parquet` file, or a folder of such files whose names begin with train, test or validation."""
    if path.is_file():
        return _found_in_tables({"train": _parquet_batches(path, reading)}, str(path), reading)
    found: dict[str, list[Any]] = {}
    for file in sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")]):
        part = reading.part(file.name.replace(".", "-").split("-")[0])
        if part is None:
            shown = printable_name(str(file))
            raise ValueError(f"{shown} belongs to no part; its name must begin with train, test or val.")
        found.setdefault(part, []).extend(_parquet_batches(file, reading))
    return _found_in_tables(found, str(path), reading)


def _found_in_tables(
    found: dict[str, list[Any]], name: str, reading: Reading, classes: tuple[str, ...] | None = None,
    caches: Sequence[Path] = (),
) -> Found:
    """Return pictures and labels of Arrow tables or their batches, by part; `classes` names labels that are numbers.

    A picture may also be a file that the table only names, if it lies below one of the folders `caches`: `datasets`
    stores fetched folders of pictures this way. A table must not make us read other files of this machine.

    Raises:
        ValueError: no column of images or of labels, or a label that is missing or has no name.
    """
    parts = {}
    for part, pieces in found.items():
        cells, labels = [], []
        with _arrow_errors_named(name):
            for table in pieces:
                table.validate(full=True)
                image, label = _image_and_label_columns(table.schema, name, reading)
                classes = classes or _class_names(table.schema, label)
                cells += [(column, row) for column in [table[image]] for row in range(len(column))]
                labels += [_label_text(value, classes, name) for value in table[label].to_pylist()]
        parts[part] = _encoded_pictures(part, cells, caches, reading.bits), labels
    return Found(parts, classes)


def _encoded_pictures(part: str, cells: list[Any], caches: Sequence[Path], bits: int | None) -> Encoded:
    def open(i: int) -> io.BufferedIOBase:
        column, row = cells[i]
        value = column[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        file = Path(value.get("path") or "").resolve() if isinstance(value, dict) else Path()
        if not content and any(file.is_relative_to(cache.resolve()) for cache in caches):
            return open_picture(file)
        if not content:
            raise Unreadable("no bytes in the table")
        return io.BytesIO(content)

    return Encoded([f"{part} row {i}" for i in range(len(cells))], open, bits)


def _image_and_label_columns(schema: Any, name: str, reading: Reading) -> tuple[str, str]:
    """Return the names of the columns of images and labels."""
    types = require("pyarrow.types", "A table of images", EXTRA)
    images = [field.name for field in schema if _holds_bytes(field.type, types)]
    image = reading.column("image", schema.names, name) or next(
        (known for known in ("image", "img") if known in images), images[0] if len(images) == 1 else None)
    label = reading.column("label", schema.names, name) or "label"
    if image is None or image not in images or schema.names.count(label) != 1 or schema.names.count(image) != 1:
        shown = printable_name(", ".join(schema.names[:8]))
        raise ValueError(f"{name} must have the columns image (bytes, or {{bytes, path}}) and label; it has: {shown}. "
                         "Name others: data.image_column, data.label_column.")
    return image, label


def _holds_bytes(kind: Any, types: Any) -> bool:
    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type, types)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face writes to the schema's metadata, if any."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _label_text(label: object, classes: tuple[str, ...] | None, name: str) -> str:
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise ValueError(f"{name} has a label {printable_name(repr(label))[:40]}; expected whole numbers or text.")
    if classes is None or isinstance(label, str):
        return str(label)
    if not 0 <= label < len(classes):
        raise ValueError(f"{name} has a label {label}, and names for 0 to {len(classes) - 1}.")
    return classes[label]


def _parquet_batches(file: Path, reading: Reading) -> list[Any]:
    """Read a file in batches, up to a limit: a repeated row takes no space in the file, but its full size in memory."""
    parquet = require("pyarrow.parquet", "A .parquet file", EXTRA)
    with _arrow_errors_named(str(file)), parquet.ParquetFile(file) as opened:
        announced = sum(opened.metadata.row_group(i).total_byte_size for i in range(opened.num_row_groups))
        check_room(str(file), announced)
        batches, held = [], 0
        columns = _image_and_label_columns(opened.schema_arrow, str(file), reading)
        for batch in opened.iter_batches(ROWS, columns=columns):
            batches.append(batch)
            held += batch.nbytes
            if held > 2 * announced + SLACK:
                raise ValueError(
                    f"{printable_name(str(file))} says that it unpacks to {announced / 1e6:,.1f} MB and unpacks to "
                    f"more than {held / 1e6:,.1f} MB: its rows repeat each other."
                )
        return batches


@contextmanager
def _arrow_errors_named(name: str) -> Iterator[None]:
    """Turn Arrow's errors about a broken file into a ValueError that names the file."""
    arrow = require("pyarrow", "A table of images", EXTRA)
    try:
        yield
    except (arrow.ArrowException, OSError) as error:
        reason = printable_name(first_line(error))[:100]
        raise ValueError(f"{printable_name(name)} is not a whole table: {reason}.") from None


def read_hugging_face(reference: str, reading: Reading) -> Found:
    """Read a saved folder, without a network; or `OWNER/NAME`, fetched by the package datasets or found in its cache.

    Raises:
        ConnectionError: the hub is not reachable, or has nothing under this name.
    """
    path = Path(reference).expanduser()
    return _read_saved(path, reading) if is_saved(path) else _read_hub(reference, reading)


def is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _read_saved(path: Path, reading: Reading) -> Found:
    if not (path / "dataset_dict.json").is_file():
        return _found_in_tables({"train": _saved_tables(path)}, str(path), reading)
    splits = map(str, _json_list(path / "dataset_dict.json", "splits"))
    named = {part: _saved_tables(path / Path(name).name) for name in splits if (part := reading.part(name))}
    return _found_in_tables(named, str(path), reading)


def _saved_tables(path: Path) -> list[Any]:
    ipc = require("pyarrow.ipc", "A saved Hugging Face dataset", EXTRA)
    files = [file.get("filename") for file in _json_list(path / "state.json", "_data_files") if isinstance(file, dict)]
    read = []
    for name in files:
        with _arrow_errors_named(f"{path}/{name}"):
            read.append(ipc.open_stream((path / Path(str(name)).name).read_bytes()).read_all())
    return read


def _json_list(path: Path, key: str) -> list[Any]:
    try:
        value = json.loads(path.read_text())[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, list) or not value:
        raise ValueError(f"{path} is missing or damaged; save_to_disk writes a list {key!r} there.")
    return value


def _read_hub(name: str, reading: Reading) -> Found:
    datasets = require("datasets", f"hf:{name}", "hf")
    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # any error of the network, the cache or the repository
        check_hugging_face(error)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        advice = "Fetch it where there is a network (load_dataset, then save_to_disk) and give that folder."
        raise ConnectionError(f"hf:{name} cannot be fetched: {reason}. {advice}") from error
    known = {part: content for split, content in splits.items() if (part := reading.part(split))}
    label = reading.label_column or "label"
    names = next((getattr(content.features.get(label), "names", None) for content in known.values()), None)
    classes = tuple(names) if names else None
    found = {part: [content.data.table] for part, content in known.items()}
    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    return _found_in_tables(found, f"hf:{name}", reading, classes, [Path(cache) for cache in caches])
