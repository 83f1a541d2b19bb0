"""Recognise files that are not PyTorch checkpoints, by their first bytes or by the names in a zip."""

import io
import json
import re
import zipfile
from typing import BinaryIO

from .._internal.reading import printable

__all__ = ["PICKLE", "ZIP", "check_kind", "is_safetensors"]

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
HEAD = 4096
TORCH = "a network of PyTorch is needed: convert it, or ask for a file of torch.save(model.state_dict(), FILE)"
UNPACK = "unpack it, and give the file in it"
BEGINNINGS = (
    (b"version https://git-lfs.github.com", "a Git LFS pointer, which names the checkpoint but does not hold it; "
     "run git lfs pull in its repository, or download the file itself"),
    (b"\x1f\x8b", f"packed with gzip; {UNPACK}: gunzip FILE"),
    (b"BZh", f"packed with bzip2; {UNPACK}: bunzip2 FILE"),
    (b"\xfd7zXZ\x00", f"packed with xz; {UNPACK}: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", f"packed with zstd; {UNPACK}: unzstd FILE"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {UNPACK}"),
    (b"Rar!", f"a rar archive; {UNPACK}"),
    (b"PK\x05\x06", "an empty zip archive; copy it anew"),
    (b"\x89HDF\r\n\x1a\n", f"an HDF5 file, as Keras writes them; {TORCH}"),
    (b"\x93NUMPY", f"a NumPy array (.npy); {TORCH}"),
    (b"GGUF", f"a GGUF file of llama.cpp; {TORCH}"),
    (b"\x89PNG", "a PNG image; give the checkpoint"),
    (b"\xff\xd8\xff", "a JPEG image; give the checkpoint"),
    (b"%PDF", "a PDF document; give the checkpoint"),
    (b"SQLite format 3", "an SQLite database; give the checkpoint"),
    (b"MATLAB 5.0", f"a MATLAB file; {TORCH}"),
    (b"PAR1", "a Parquet table; give the checkpoint"),
)  # fmt: skip
PARTS = (  # patterns of names in a zip
    (r"(^|/)constants\.pkl$", "TorchScript (torch.jit.save), which holds code; give the network's own file: "
     "torch.save(model.state_dict(), FILE)"),
    (r"(^|/)(archive_format|serialized_exported_program\.json|models/[^/]+\.json)$", "torch.export's program (.pt2); "
     "give the network's own file: torch.save(model.state_dict(), FILE)"),
    (r"(^|/)model\.weights\.h5$", f"a Keras model (.keras); {TORCH}"),
    (r"\.npy$", f"a NumPy archive (.npz); {TORCH}"),
    (r"^(word|xl|ppt)/", "an office document; give the checkpoint"),
)  # fmt: skip


def check_kind(file: BinaryIO, name: str) -> None:
    """Raise ValueError if a file is recognised as something other than a checkpoint. Rewinds the file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    kind = _kind(head, size) or (_zip_kind(file) if head.startswith(ZIP) else None)
    file.seek(0)
    if kind:
        raise ValueError(f"{name} is {kind}.")


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` has the safetensors format, whatever its name."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _kind(head: bytes, size: int) -> str | None:
    if not head:
        return "empty; copy it anew"
    if not head.strip(b"\0"):
        return f"{size:,} bytes of which the first {len(head):,} are zero, as of an unfinished download; copy it anew"
    for beginning, kind in BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head[257:262] == b"ustar":
        return f"a tar archive; {UNPACK}: tar -xf FILE"
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model; {TORCH}"
    if re.match(rb"\x08[\x01-\x1f]\x12.[\x00-\x7f]*?(\x1a|\")", head[:64], re.S):
        return f"an ONNX model; {TORCH}"
    return _text_kind(head)


def _text_kind(head: bytes) -> str | None:
    """Describe a text file: web page, JSON, TensorFlow's list of checkpoints, other text; `None` if it is not text."""
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < HEAD else "ignore").strip()
    except UnicodeDecodeError:
        return None
    if not text or any(ord(c) < 32 and c not in "\t\n\r\f" for c in text):
        return None
    if re.match(r"(?i)<(!doctype html|html|head|body|\?xml|!--)", text):
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
        shown = f" ({printable(title[1], 60)!r})" if title else ""
        return (f"a web page{shown}, HTML in place of the checkpoint; open the link in a browser, and download the "
                "file itself")  # fmt: skip
    if text[0] in "{[" and _is_json(text, len(head) == HEAD):
        shards = '"weight_map"' in text
        return ("JSON, the index of a checkpoint in several files; join them into one: "
                "torch.save(model.state_dict(), FILE)" if shards
                else "JSON, not a checkpoint; give the file with the weights")  # fmt: skip
    if text.startswith("model_checkpoint_path:"):
        return f"TensorFlow's list of checkpoints; {TORCH}"
    return "a text file, not a PyTorch checkpoint; give the file with the weights"


def _is_json(text: str, cut: bool) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return cut and bool(re.match(r'\{\s*"|\[\s*[\[{"\d]', text))
    return True


def _zip_kind(file: BinaryIO) -> str | None:
    """Describe a zip that is not an original file of torch.save; `None` if it is one, or is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except Exception:  # damaged bytes raise many kinds of exceptions
        return None
    names = [entry.filename for entry in entries]
    for pattern, kind in PARTS:
        if any(re.search(pattern, name) for name in names):
            return kind
    if not any(re.search(r"(^|/)data\.pkl$", name) for name in names):
        shown = printable(", ".join(names[:4]), 80) or "nothing"
        return f"a zip archive that torch.save did not write (it holds {shown}); {UNPACK}"
    if any(entry.compress_type for entry in entries):
        return "a file of torch.save that a zip program has packed again; copy the original"
    return None
