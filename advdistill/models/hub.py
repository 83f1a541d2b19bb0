"""Hugging Face: a repository or a folder that holds weights as safetensors."""

from pathlib import Path

from .._internal.messages import check_hugging_face, first_line
from .._internal.optional import require
from .._internal.reading import home

USUAL = ("best.safetensors", "model.safetensors")


def find(name: str, file: str | None = None, revision: str | None = None) -> Path:
    """The safetensors file of a local folder, or of the repository OWNER/NAME, which is downloaded or in the cache.

    Raises FileNotFoundError or ValueError if there is not one, ImportError without huggingface_hub.
    """
    folder = home(name)
    if not folder.is_dir():
        folder = _snapshot(name, revision)
    return _weights(folder, f"hf:{name}", file)


def _weights(folder: Path, reference: str, file: str | None) -> Path:
    there = sorted(path.name for path in folder.glob("*.safetensors"))
    if file is None:
        file = next((name for name in USUAL if name in there), there[0] if len(there) == 1 else None)
    if file in there:
        return folder / file
    if not there:
        raise FileNotFoundError(f"{reference} holds no .safetensors file; write one with advdistill.models.save.")
    raise ValueError(f"Which file of {reference}? Write {reference}?file=NAME, one of {', '.join(there)}.")


def _snapshot(name: str, revision: str | None) -> Path:
    if name.count("/") != 1:
        raise FileNotFoundError(f"hf:{name} is neither a folder nor the OWNER/NAME of a repository.")
    hub = require("huggingface_hub", f"hf:{name} is no folder here; fetching it", "hub")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=["*.safetensors"]))
    except Exception as error:  # of the client and of the libraries that it asks
        check_hugging_face(error)
        raise FileNotFoundError(f"hf:{name} is not in the cache and cannot be fetched ({first_line(error)}); where "
                                f"there is a network, run: hf download {name}, and copy the folder here.") from error
