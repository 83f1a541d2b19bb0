"""`advdistill export`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table
from tyro.conf import Positional

from .._internal.files import make_folder, sha256, write_atomic
from ..results.consistency import same_weights
from ..results.result import Result
from .console import CONSOLE, columns, say, tell, typed
from .early import check_data, check_eps, check_model, check_run

if TYPE_CHECKING:
    from torch import Tensor

    from ..export import ExportedResult
    from ..results.files import ResultFiles
    from .target import Target

__all__ = ["Export"]

CALIBRATION, COMPARED = 512, 256  # training images: to compute int8's scales, and to compare file and network


@dataclass(frozen=True)
class Export:
    """Write a network as a file for a device, compare it with the original, and attack the file itself."""

    model: Positional[str]
    """A run folder or a checkpoint."""
    to: Literal["onnx", "onnx-fp16", "onnx-int8", "safetensors", "torch-export"] = "onnx"
    """Kind of file; the scales of int8 are computed from 512 training images."""
    out: Path | None = None
    """File; if omitted, model.onnx, model.int8.onnx and so on in the run's folder, or NAME.onnx next to NAME.pt."""
    data: str | None = None
    """Dataset; if omitted, the run's."""
    folder: str | None = None
    """Folder of the dataset's files, if not in the cache."""
    eps: str | None = None
    """Radius of the threat model, e.g. 8/255; if omitted, the run's."""
    norm: Literal["linf", "l2"] | None = None
    """Threat model; if omitted, the run's."""
    n: int = 1000
    """Number of test images on which the file is attacked; all of them if there are fewer."""
    queries: int = 200
    """Queries per image by the Square attack, which queries the file itself; 0 skips the attack."""
    evaluate: bool = True
    """Attack the file; otherwise its robust accuracy is "not measured"."""
    batch_size: int = 128
    """Images attacked at once."""
    seed: int = 0
    """Seed of the attacks and of the choice of training images."""

    def __call__(self) -> int:
        check_eps(self.eps, self.norm)
        if self.data is not None:
            check_data(self.data)
        check_model(self.model)
        if Path(self.model).is_dir():
            check_run(self.model)

        from ..attacks.square import Square
        from ..evaluation.context import Context
        from ..export import build, open_file, write
        from ..export.result import file_facts
        from ..export.robustness import measure_under_attack, routes
        from ..results.files import ResultFiles
        from .target import Target, device

        target = Target(self.model, self.data, self.folder, self.norm, self.eps)
        n = len(target.split.first(min(self.n, len(target.split))))
        if self.evaluate and self.queries:
            Square(target.threat, self.queries).check()
        path, source = _place(target, self.to, self.out), _source(target)
        network, (calibration, compared) = target.network.float(), _images(target, self.seed)
        say(f"making {path}")
        artefact = build(self.to, network, target.split.shape, calibration)
        gradient_networks = routes(artefact, network) if self.evaluate else {}
        result = _unmeasured(target, path, artefact.identity, self.seed)
        make_folder(path.parent)
        parity = write(artefact, source | {"robust_accuracy": result.robust}, path, network, compared)
        files = ResultFiles(path.with_name(f"{path.name}.result.json"))
        with files.writing():
            _make_way(files, artefact.identity if self.evaluate else None)
            file = open_file(self.to, path)
            known = file_facts(artefact, path, network, file, gradient_networks, compared)
            known |= {"parity": vars(parity), "source": source}
            tell(f"parity: {parity}", wrap=False)
            tell(f"size: {path.stat().st_size:,} bytes", wrap=False)
            _tell_latency(known["latency_ms"])
            if self.evaluate:
                context = Context(
                    file, target.split, target.threat,
                    seed=self.seed, batch_size=self.batch_size, device=device(), report=say,
                )  # fmt: skip
                measured = measure_under_attack(
                    context, gradient_networks,
                    identity=artefact.identity, n=n, queries=self.queries, keep=files.unfinished,
                )  # fmt: skip
                result = files.store(replace(result, measurements=measured))
                content = artefact.pack(source | {"threat": result.threat, "robust_accuracy": result.robust})
                write_atomic(path, lambda temporary: temporary.write_bytes(content))
                CONSOLE.print(_table(replace(result, measurements=measured)))
            replace(result, file=known | {"bytes": path.stat().st_size, "sha256": sha256(path)}).save(files.result)
            tell(f"robust accuracy: {result.robust}", wrap=False)
            say(f"written to {path} and {files.result.name}")
            return 0


def _place(target: "Target", to: str, out: Path | None) -> Path:
    """Return the path of the file to write."""
    from ..export import KINDS

    source = _checkpoint(target)
    stem = "model" if target.run or source is None else source.stem
    path = out or (source.parent if source else Path()) / f"{stem}{KINDS[to].ending}"
    if path.suffix != KINDS[to].suffix:
        raise ValueError(f"{path} must end in {KINDS[to].suffix} for --to {to}.")
    if source and path.resolve() == source.resolve():
        raise ValueError(f"{path} is the checkpoint itself. Give --out with another name.")
    return path


def _checkpoint(target: "Target") -> Path | None:
    """Return the path of the checkpoint, or `None` if it is not on this machine."""
    from ..models.reference import parse

    path = target.run.best if target.run else Path(parse(target.reference).name).expanduser()
    return path if path.is_file() else None


def _source(target: "Target") -> dict[str, str]:
    """Return the metadata about its source that is written into the file."""
    source, channels, height, width = _checkpoint(target), *target.split.shape
    known = {"source": target.name, "input": f"images, float32 [batch, {channels}, {height}, {width}] in [0, 1]"}
    if source:
        known["source_sha256"] = sha256(source)
    if spec := getattr(target.network, "spec", None):
        known["spec"] = json.dumps(vars(spec))
    said = target.header if source else {}
    return known | {name: said[name] for name in ("chosen", "chosen_on", "selection") if name in said}


def _images(target: "Target", seed: int) -> tuple["Tensor", "Tensor"]:
    """Return training (never test) images `[N, C, H, W]`: some for calibration, others for the comparison."""
    import torch

    from .._internal.rng import generator
    from ..data.batches import to_float

    train = target.part("train")
    order = torch.randperm(len(train), generator=generator(seed, "calibration"))
    calibration, compared = order[:CALIBRATION], order[CALIBRATION:][-COMPARED:]
    few, others = (to_float(train.images[index if len(index) else order]) for index in (calibration, compared))
    return few, others


def _unmeasured(target: "Target", path: Path, identity: str, seed: int) -> "ExportedResult":
    from ..export import ExportedResult
    from ..export.result import versions

    return ExportedResult(
        model=path.name, data=target.split.name, fingerprint=target.split.fingerprint(), weights=identity,
        threat=str(target.threat), eps=target.threat.eps, seed=seed, measurements=(),
        date=datetime.now(UTC).isoformat(timespec="seconds"), versions=versions(), chosen=target.chosen(),
        command=typed(),
    )  # fmt: skip


def _make_way(files: "ResultFiles", identity: str | None) -> None:
    """Rename the result of an earlier file with other content; delete a result without measurements."""
    if not files.result.exists():
        return
    earlier = Result.load(files.result)
    if not earlier.measurements:
        files.result.unlink()
    elif not same_weights(earlier.weights, identity):
        files.set_aside(earlier.date)


def _tell_latency(times: Mapping[str, Mapping[str, float]]) -> None:
    for name, percentiles in times.items():
        told = ", ".join(f"{which} {value:.2f} ms" for which, value in percentiles.items())
        tell(f"one image on one thread, {name}: {told}", wrap=False)


def _table(result: "ExportedResult") -> Table:
    drawn = columns("attack", "accuracy in %", "95 % interval", show_edge=False)
    for m in result.measurements:
        low, high = (100 * bound for bound in m.interval)
        drawn.add_row(m.attack, f"{100 * m.accuracy:.1f}", f"{low:.1f}-{high:.1f}")
    return drawn
