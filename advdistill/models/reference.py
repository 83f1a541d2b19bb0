"""The text by which a user names a model: `[file:]PATH[?arch=...&num_classes=...&mean=...&std=...]`."""

from pathlib import Path
from urllib.parse import parse_qsl

SCHEMES = ("file",)
EXAMPLE = "file:t.pt?arch=resnet18&num_classes=10&mean=0.49,0.48,0.45&std=0.2,0.2,0.2"


def parse(reference: str) -> tuple[Path, dict]:
    """Split a reference into the checkpoint's path and its options.

    A directory stands for the `best.safetensors` that a run keeps in it.

    Raises ValueError for an unknown scheme or option, or a folder that is no run; FileNotFoundError.
    """
    location, _, query = reference.partition("?")
    options = dict(_option(key, text) for key, text in parse_qsl(query, keep_blank_values=True))
    return _checkpoint(Path(_without_scheme(location)).expanduser()), options


def _without_scheme(location: str) -> str:
    scheme, colon, path = location.partition(":")
    # One letter is a Windows drive; something with a slash or a dot is a path that contains a colon.
    if not colon or len(scheme) == 1 or not scheme.isidentifier():
        return location
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}:" for name in SCHEMES)
        raise ValueError(f"Unknown kind of model reference {scheme + ':'!r} in {location!r}. Known: {known} "
                         "and plain paths.")
    return path


def _checkpoint(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"No checkpoint at {path}; give a file (.safetensors, .pt, .pth, .ckpt) "
                                "or a run directory.")
    if not path.is_dir():
        return path
    best = path / "best.safetensors"
    if not best.exists():
        raise ValueError(f"The folder {path} is not a run directory, as it has no best.safetensors; "
                         "give a run directory or a checkpoint file.")
    return best


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


OPTIONS = {"arch": str, "num_classes": int, "mean": _numbers, "std": _numbers}


def _option(key: str, text: str) -> tuple[str, object]:
    if key not in OPTIONS:
        known = ", ".join(OPTIONS)
        raise ValueError(f"Unknown option {key!r} in a model reference. Known: {known}, as in {EXAMPLE}.")
    try:
        return key, OPTIONS[key](text)
    except ValueError:
        raise ValueError(f"The option {key}={text!r} of a model reference is malformed; write it as in "
                         f"{EXAMPLE}.") from None
