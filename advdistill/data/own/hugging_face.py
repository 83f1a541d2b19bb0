"""Datasets of Hugging Face: a folder that `save_to_disk` wrote, or a name on the hub."""

import json
from pathlib import Path
from typing import Any

from ..._internal.messages import check_hugging_face
from ..._internal.optional import require
from .arrow import EXTRA, explained, tables
from .collection import Found, part_named

__all__ = ["is_saved", "read"]


def read(reference: str) -> Found:
    """A folder, which needs no network; or `OWNER/NAME`, fetched by the package datasets or found in its cache.

    Raises:
        ConnectionError: the hub is not reachable, or has nothing under this name.
    """
    path = Path(reference).expanduser()
    return _folder(path) if is_saved(path) else _hub(reference)


def is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _folder(path: Path) -> Found:
    if not (path / "dataset_dict.json").is_file():
        return tables({"train": _tables(path)}, str(path))
    splits = map(str, _list(path / "dataset_dict.json", "splits"))
    named = {part: _tables(path / Path(name).name) for name in splits if (part := part_named(name))}
    return tables(named, str(path))


def _tables(path: Path) -> list[Any]:
    ipc = require("pyarrow.ipc", "A saved Hugging Face dataset", EXTRA)
    files = [file.get("filename") for file in _list(path / "state.json", "_data_files") if isinstance(file, dict)]
    read = []
    for name in files:
        with explained(f"{path}/{name}"):
            read.append(ipc.open_stream((path / Path(str(name)).name).read_bytes()).read_all())
    return read


def _list(path: Path, key: str) -> list[Any]:
    try:
        value = json.loads(path.read_text())[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, list) or not value:
        raise ValueError(f"{path} is missing or damaged; save_to_disk writes a list {key!r} there.")
    return value


def _hub(name: str) -> Found:
    datasets = require("datasets", f"hf:{name}", "hf")
    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # whatever a network, a cache or somebody's repository does
        check_hugging_face(error)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        advice = "Fetch it where there is a network (load_dataset, then save_to_disk) and give that folder."
        raise ConnectionError(f"hf:{name} cannot be had: {reason}. {advice}") from error
    known = {part: content for split, content in splits.items() if (part := part_named(split))}
    names = next((getattr(content.features.get("label"), "names", None) for content in known.values()), None)
    classes = tuple(names) if names else None
    found = {part: [content.data.table] for part, content in known.items()}
    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    return tables(found, f"hf:{name}", classes, [Path(cache) for cache in caches])
