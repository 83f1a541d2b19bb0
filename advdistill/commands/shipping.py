"""`advdistill export`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from .._internal.files import make_folder, sha256, write_atomic
from .._internal.rng import generator
from ..attacks.square import Square
from ..data.batches import to_float
from ..export import KINDS, Shipped, build, open_file, write
from ..export.facts import facts, versions
from ..export.robustness import attacked, routes
from ..models.checkpoint import provenance
from ..models.reference import parse
from ..results.files import ResultFiles
from ..results.result import Result
from .console import CONSOLE, say, typed
from .subject import Subject, device

__all__ = ["export"]

CALIBRATION, COMPARED = 512, 256  # training images: int8's scales are read off the first, others are compared


def export(
    model: str,
    to: str,
    out: Path | None = None,
    data: str | None = None,
    folder: str | None = None,
    eps: str | None = None,
    norm: str | None = None,
    n: int = 1000,
    queries: int = 200,
    evaluate: bool = True,
    batch_size: int = 128,
    seed: int = 0,
) -> int:
    subject = Subject(model, data, folder, norm, eps)
    n = len(subject.split.first(min(n, len(subject.split))))
    if evaluate and queries:
        Square(subject.threat, queries).check()
    path, source = _place(subject, to, out), _source(subject)
    network, (calibration, compared) = subject.network.float(), _images(subject, seed)
    say(f"making {path}")
    artefact = build(to, network, subject.split.shape, calibration)
    climbed = routes(artefact, network) if evaluate else {}
    result = _unmeasured(subject, path, artefact.identity, seed)
    make_folder(path.parent)
    parity = write(artefact, source | {"robust_accuracy": result.robust}, path, network, compared)
    files = ResultFiles(path.with_name(f"{path.name}.result.json"))
    _make_way(files, artefact.identity if evaluate else None)
    file = open_file(to, path)
    known = facts(artefact, path, network, file, climbed, compared) | {"parity": vars(parity), "source": source}
    _tell(f"parity: {parity}")
    _tell(f"size: {path.stat().st_size:,} bytes")
    _tell_latency(known["latency_ms"])
    if evaluate:
        measured = attacked(
            file, artefact.identity, climbed, subject.split, subject.threat, n=n, queries=queries,
            batch_size=batch_size, seed=seed, device=device(), keep=files.unfinished, report=say,
        )  # fmt: skip
        result = files.store(replace(result, measurements=measured))
        content = artefact.pack(source | {"threat": result.threat, "robust_accuracy": result.robust})
        write_atomic(path, lambda temporary: temporary.write_bytes(content))
        CONSOLE.print(_table(result))
    replace(result, file=known | {"bytes": path.stat().st_size, "sha256": sha256(path)}).save(files.result)
    _tell(f"robust accuracy: {result.robust}")
    say(f"written to {path} and {files.result.name}")
    return 0


def _place(subject: Subject, to: str, out: Path | None) -> Path:
    """The file's path."""
    source = _checkpoint(subject)
    stem = "model" if subject.run or source is None else source.stem
    path = out or (source.parent if source else Path()) / f"{stem}{KINDS[to].ending}"
    if path.suffix != KINDS[to].suffix:
        raise ValueError(f"{path} should end in {KINDS[to].suffix}, being of kind {to}.")
    if source and path.resolve() == source.resolve():
        raise ValueError(f"{path} is the checkpoint itself. Give --out with another name.")
    return path


def _checkpoint(subject: Subject) -> Path | None:
    """The checkpoint's file, if it is one of this machine."""
    path = subject.run.best if subject.run else Path(parse(subject.reference).name).expanduser()
    return path if path.is_file() else None


def _source(subject: Subject) -> dict[str, str]:
    """What the file says of where it comes from."""
    source, channels, height, width = _checkpoint(subject), *subject.split.shape
    known = {"source": subject.name, "input": f"images, float32 [batch, {channels}, {height}, {width}] in [0, 1]"}
    if source:
        known["source_sha256"] = sha256(source)
    if spec := getattr(subject.network, "spec", None):
        known["spec"] = json.dumps(vars(spec))
    said = provenance(source) if source else {}
    return known | {name: said[name] for name in ("chosen", "chosen_on") if name in said}


def _images(subject: Subject, seed: int) -> tuple[Tensor, Tensor]:
    """Training images `[N, C, H, W]`, never the test split's: for calibration, and others to compare on."""
    train = subject.part("train")
    order = torch.randperm(len(train), generator=generator(seed, "calibration"))
    calibration, compared = order[:CALIBRATION], order[CALIBRATION:][-COMPARED:]
    few, others = (to_float(train.images[index if len(index) else order]) for index in (calibration, compared))
    return few, others


def _unmeasured(subject: Subject, path: Path, identity: str, seed: int) -> Shipped:
    return Shipped(
        model=path.name, data=subject.split.name, fingerprint=subject.split.fingerprint(), weights=identity,
        threat=str(subject.threat), eps=subject.threat.eps, seed=seed, measurements=(),
        date=datetime.now(UTC).isoformat(timespec="seconds"), versions=versions(), chosen=subject.chosen(),
        command=typed(),
    )  # fmt: skip


def _make_way(files: ResultFiles, identity: str | None) -> None:
    """A result of another content is no longer this file's: it is put aside, or removed if it measured nothing."""
    if not files.result.exists():
        return
    earlier = Result.load(files.result)
    if not earlier.measurements:
        files.result.unlink()
    elif earlier.weights != identity:
        files.set_aside(earlier.date)


def _tell_latency(times: Mapping[str, Mapping[str, float]]) -> None:
    for name, percentiles in times.items():
        told = ", ".join(f"{which} {value:.2f} ms" for which, value in percentiles.items())
        _tell(f"one image on one thread, {name}: {told}")


def _table(result: Shipped) -> Table:
    drawn = Table("attack", "accuracy in %", "95 % interval", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for m in result.measurements:
        low, high = (100 * bound for bound in m.interval)
        drawn.add_row(m.attack, f"{100 * m.accuracy:.1f}", f"{low:.1f}-{high:.1f}")
    return drawn


def _tell(line: str) -> None:
    CONSOLE.print(line, markup=False, soft_wrap=True)
