"""Fetch a file or folder of pictures from a Hugging Face dataset repository: `hf:OWNER/NAME/PATH`."""

from pathlib import Path

from ..._internal.messages import check_hugging_face, first_line
from ..._internal.packages import require

__all__ = ["fetch", "is_inside"]


def is_inside(where: str) -> bool:
    """Return whether `where` is OWNER/NAME/PATH, not OWNER/NAME."""
    return len([word for word in where.split("/") if word]) > 2 and not where.startswith((".", "/", "~"))


def fetch(where: str) -> Path:
    """Return the local path of OWNER/NAME/PATH, downloaded or found in the cache.

    Raises:
        ConnectionError: the hub is not reachable, or has nothing under this name.
        FileNotFoundError: the repository has no such file or folder.
    """
    owner, name, inner = where.split("/", 2)
    hub = require("huggingface_hub", f"hf:{where}", "hub")
    patterns = None if Path(inner).suffix in (".csv", ".tsv") else [inner, f"{inner.rstrip('/')}/*"]
    try:
        folder = Path(hub.snapshot_download(f"{owner}/{name}", repo_type="dataset", allow_patterns=patterns))
    except Exception as error:  # errors of the client and of the libraries that it uses
        check_hugging_face(error)
        raise ConnectionError(f"hf:{where} cannot be fetched: {first_line(error)[:200]}. Where there is a network, "
                              f"run: hf download {owner}/{name} --repo-type dataset, and give the folder.") from error
    path = folder / inner
    if ".." in Path(inner).parts or not path.exists():
        raise FileNotFoundError(f"The repository {owner}/{name} has no file or folder {inner}.")
    return path
