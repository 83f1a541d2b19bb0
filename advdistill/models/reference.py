"""Parse model references (a path or `KIND:NAME`, with `?option=value&...`) and find the files that they refer to."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from .._internal.messages import check_hugging_face, first_line, unknown_kind
from .._internal.packages import require
from .._internal.reading import home, ordinary, printable

__all__ = ["KINDS", "Reference", "check_options", "checkpoint_at", "hugging_face_file", "parse"]

LONGEST = 2000
_FILE = ("arch", "num_classes", "mean", "std")
KINDS = {  # the options of each kind, and an example
    "file": (_FILE, "file:t.pt?arch=resnet18&num_classes=10&mean=0.49,0.48,0.45&std=0.2,0.2,0.2"),
    "hf": ((*_FILE, "file", "revision"), "hf:OWNER/NAME?revision=main"),
    "python": (("checkpoint", "mean", "std"), "python:my_module:MyNet?checkpoint=mine.pt&mean=0.5,0.5&std=0.2,0.2"),
    "robustbench": (("file",), "robustbench:cifar100/Linf/Wang2023Better_WRN-28-10?file=there.pt"),
    "timm": (("pretrained", "checkpoint", "num_classes", "mean", "std"), "timm:resnet18?pretrained=true"),
    "zoo": (("num_classes", "in_channels", "mean", "std"), "zoo:convnet-16?num_classes=10&in_channels=1"),
}


@dataclass(frozen=True)
class Reference:
    """A parsed reference: `kind` is one of `KINDS`, `name` the text between the colon and the `?`."""

    kind: str
    name: str
    options: dict[str, Any]


def parse(reference: str) -> Reference:
    """Parse a reference; a plain path is of kind `file`.

    Raises ValueError if the kind is unknown, or an option is malformed or not supported by the kind.
    """
    if len(reference) > LONGEST:
        raise ValueError(f"A model reference has {LONGEST:,} characters at most, not {len(reference):,}: "
                         f"{printable(reference)}")
    location, _, query = reference.partition("?")
    kind, name = _split_kind(location)
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)  # a plus in a path is a plus
    return Reference(kind, name, {key: _option_value(kind, key, text) for key, text in pairs})


def checkpoint_at(location: str) -> Path:
    """Return the path of a checkpoint: the file at `location`, or `best.safetensors` in a run directory.

    Raises FileNotFoundError if nothing is there, ValueError if it is a folder but not a run directory.
    """
    path = home(location)
    if not path.exists():
        raise FileNotFoundError(f"No checkpoint at {path}; give a file (.safetensors, .pt, .pth, .ckpt) "
                                "or a run directory.")
    if not path.is_dir():
        return ordinary(path)
    best = path / "best.safetensors"
    if not best.exists():
        raise ValueError(f"The folder {path} is not a run directory, as it has no best.safetensors; "
                         "give a run directory or a checkpoint file.")
    return best


def check_options(kind: str, names: Iterable[str]) -> None:
    """Raise ValueError unless references of this kind support all options of these names."""
    known, example = KINDS[kind]
    for name in names:
        if name not in known:
            raise ValueError(f"Unknown option {name!r} in a model reference. Known: {', '.join(known)}, "
                             f"as in {example}.")


def _split_kind(location: str) -> tuple[str, str]:
    kind, colon, name = location.partition(":")
    # One letter is a Windows drive; something with a slash or a dot is a path that contains a colon.
    if not colon or len(kind) == 1 or not kind.isidentifier():
        return "file", location
    if kind not in KINDS:
        raise unknown_kind(kind, location, KINDS)
    return kind, name


def _option_value(kind: str, key: str, text: str) -> object:
    check_options(kind, [key])
    try:
        return VALUES.get(key, str)(text)
    except ValueError:
        raise ValueError(f"The option {key}={printable(repr(text))} of a model reference is malformed; write it as in "
                         f"{KINDS[kind][1]}.") from None


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


def _positive_count(text: str) -> int:
    if not 0 < int(text) <= MOST:
        raise ValueError
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


MOST = 100_000  # classes or channels: a network of the given size is created
VALUES = {
    "num_classes": _positive_count, "in_channels": _positive_count, "mean": _numbers, "std": _numbers,
    "pretrained": _yes_or_no,
}  # fmt: skip


USUAL = ("best.safetensors", "model.safetensors")


def hugging_face_file(name: str, file: str | None = None, revision: str | None = None) -> Path:
    """Return the safetensors file of a local folder or of the repository OWNER/NAME, from the cache or downloaded.

    Raises FileNotFoundError if there is none, ValueError if it is unclear which one, or ImportError without
    huggingface_hub.
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
    what = "several weight files" if file is None else f"no {file!r}"
    raise ValueError(f"{reference} holds {what}; choose one with {reference}?file=NAME: {', '.join(there)}.")


def _snapshot(name: str, revision: str | None) -> Path:
    if name.count("/") != 1:
        raise FileNotFoundError(f"hf:{name} is neither a folder nor the OWNER/NAME of a repository.")
    hub = require("huggingface_hub", f"hf:{name} is no folder here; fetching it", "hub")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=["*.safetensors"]))
    except Exception as error:  # raised by the client or by the libraries that it uses
        check_hugging_face(error)
        raise FileNotFoundError(f"hf:{name} is not in the cache and cannot be fetched ({first_line(error)}); where "
                                f"there is a network, run: hf download {name}, and copy the folder here.") from error
