"""Valid examples of the files that advdistill opens, and functions that read them."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save

from advdistill import Recipe, data, methods, models
from advdistill.evaluation.verdicts import Verdicts
from advdistill.report.compare import compare
from advdistill.report.formats import tables
from advdistill.report.page import page
from advdistill.results.inspection import Example, Inspection, Network, Prediction
from advdistill.results.masking import CHECKS
from advdistill.results.result import Measurement, Result
from advdistill.train.logging import Metrics
from advdistill.train.state import State

NAMES = ("cat", "dog")
RESULT = Result(
    model="student", data="digits/test", fingerprint="b94169546686", threat="Linf 8/255", eps=8 / 255, seed=0,
    measurements=(Measurement("clean", "", 20, 16, 0.1), Measurement("pgd-20", "PGD-20", 20, 9, 1.5)),
    date="2026-01-02T03:04:05+00:00", versions={"torch": "2.13"}, weights="0123456789ab",
)  # fmt: skip
VERDICTS = {m.attack: torch.tensor([1] * m.correct + [0] * (m.n - m.correct), dtype=torch.uint8)
            for m in RESULT.measurements}  # fmt: skip
MASKING = {"status": "warn", "data": RESULT.data, "threat": RESULT.threat, "n": 20, "seed": 0, "findings": [
    {"name": name, "status": "warn", "figures": {"share": 0.1}, "reason": "PGD-100 breaks 2 of 20."}
    for name in CHECKS]}  # fmt: skip
EPOCHS = [{"step": 10 * i, "epoch": i, "lr": 0.1, "loss/adv": 1 / i, "clean": 0.1 * i, "robust": 0.1} for i in (1, 2)]
BEAT = {"state": "running", "pid": 1, "host": "here", "time": 1.0, "step": 3, "total": 30, "since": 0.0,
        "since_step": 1, "rollbacks": 1, "why": "so"}  # fmt: skip


def made(write: Callable[[Path], object], suffix: str = "") -> Callable[[], bytes]:
    """Return a function that returns the bytes that `write` writes to a file."""

    def valid() -> bytes:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"made{suffix}")
            write(file)
            return file.read_bytes()

    return valid


def sealed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def run_folder(folder: Path) -> None:
    """Write the folder of a finished run with all its results, including an inspection."""
    folder.mkdir(parents=True, exist_ok=True)
    RESULT.save(folder / "result.json")
    described = {"fingerprint": RESULT.fingerprint, "threat": RESULT.threat, "seed": "0"}
    (folder / "result.verdicts.safetensors").write_bytes(save(VERDICTS, described))
    (folder / "result.masking.json").write_text(json.dumps(MASKING))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EPOCHS))
    (folder / "heartbeat.json").write_text(json.dumps(BEAT))
    (folder / "recipe.yaml").write_text(RECIPE.to_yaml())
    inspection().save(folder / "result.inspection.safetensors")


RECIPE = Recipe(method=methods.build("rslad+igdm"), teacher="runs/teacher", student="convnet-4", ema=0.9)


def inspection() -> Inspection:
    random = np.random.default_rng(0)

    def prediction() -> Prediction:
        return Prediction("cat", "dog", random.random((1, 4, 4), np.float32), random.random((1, 4, 4), np.float32))

    curve = {eps: Measurement("pgd-20", "", 20, correct, 0.5) for eps, correct in ((0.0, 16), (8 / 255, 9))}
    network = Network(curve, {"clean": [(10, 9), (10, 7)]}, {"clean": 0.1}, 0.5)
    example = Example(random.random((1, 4, 4), np.float32), "cat", {"student": prediction()})
    return Inspection(
        RESULT.weights, RESULT.data, RESULT.fingerprint, RESULT.threat, RESULT.eps, 20, 0, "PGD-20", NAMES,
        {"student": network}, {"cross_entropy": (0.5, 0.25)}, {"uniform": 1.5}, (example,),
    )  # fmt: skip


def shown(folder: Path) -> None:
    """Create every report on a run: the comparison, its table and the HTML page."""
    console = Console(file=io.StringIO(), width=100)
    console.print(compare([folder, folder]))
    tables([folder], "markdown")
    page([folder])


def network(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.create("convnet-4", 2, 1)


def nothing(folder: Path) -> None:
    """Add nothing to the folder: it has only the file itself."""


def loaded(reference: str) -> None:
    models.load(reference)
    models.checkpoint.provenance(reference)


def torch_bytes(value: object, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def state(student: torch.nn.Module | None = None, shape: tuple[int, ...] = (2, 1, 8, 8)) -> State:
    student = student or network()
    optimizer = torch.optim.SGD(student.parameters(), 0.1, momentum=0.9)
    student(torch.zeros(shape)).sum().backward()
    optimizer.step()
    return State(student, {}, optimizer, methods.build("mtard"), None)


def archived() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in (("a/one.bin", b"1" * 2000), ("a/" + "long" * 40, b"2" * 700)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("a/link")
        link.type, link.linkname = tarfile.LNKTYPE, "a/one.bin"
        tar.addfile(link)
    return stream.getvalue()


def repacked(read: Callable[[Path], None]) -> Callable[[Path], None]:
    """Compress the mutated bytes before reading, so that gzip is valid and the mutations are reached."""

    def reading(folder: Path) -> None:
        (folder / "x.tar.gz").write_bytes(gzip.compress((folder / "x.tar").read_bytes(), 1))
        read(folder)

    return reading


PIXELS = np.random.RandomState(0).randint(0, 256, (8, 8, 9, 3)).astype(np.uint8)
LABELS = np.arange(8) % 2


def picture(kind: str, **options) -> Callable[[], bytes]:
    def valid() -> bytes:
        stream = io.BytesIO()
        Image.fromarray(PIXELS[0]).save(stream, kind, **options)
        return stream.getvalue()

    return valid


def pictures(folder: Path) -> None:
    for name in NAMES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            Image.fromarray(PIXELS[i + 3 * (name == "dog")]).save(folder / name / f"{i}.png")


def both(reference: str) -> None:
    """Load both splits."""
    for split in ("train", "test"):
        data.load(reference, split)


def own(folder: Path) -> None:
    both(str(folder))


def continued(folder: Path) -> None:
    metrics = Metrics(folder / "metrics.jsonl", 10)
    if metrics.board:
        metrics.board.close()


def arrow_table():
    import pyarrow

    cells = [{"bytes": picture("PNG")() + bytes([i]), "path": "x.png"} for i in range(8)]
    return pyarrow.table({"image": cells, "label": LABELS.tolist()})


def parquet(file: Path) -> None:
    from pyarrow.parquet import write_table

    write_table(arrow_table(), file)


def ipc(file: Path) -> None:
    import pyarrow

    table = arrow_table()
    with pyarrow.ipc.new_stream(str(file), table.schema) as stream:
        stream.write_table(table)


def saved(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))


def matlab(file: Path) -> None:
    from scipy.io import savemat

    savemat(file, {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((4, 1), np.uint8)}, do_compression=True)


def idx_bytes(shape: tuple[int, ...]) -> bytes:
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + bytes(int(np.prod(shape)))


def unfinished(folder: Path) -> None:
    kept = Verdicts(20, {"fingerprint": "x"}, folder / "result.unfinished.safetensors")
    kept.begin("clean", {})
    kept.knows("clean", 0, 20)


def reference(folder: Path) -> None:
    text = (folder / "reference").read_bytes().decode(errors="replace")
    if not text.startswith(("hf:", "timm:", "robustbench:")):  # these download gigabytes
        models.load(text)


REFERENCES = b"file:run/m.safetensors?arch=convnet-4&num_classes=2&mean=0.5&std=0.25"
ZOO = b"zoo:convnet-4?num_classes=3&in_channels=1&mean=0.5&std=0.25"
BATCH = "cifar10/test_batch.bin"
SPEC = json.dumps({"name": "convnet-4", "num_classes": 2, "in_channels": 1, "mean": [0.5], "std": None})
