import os
import shutil
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "GLOO_SOCKET_IFNAME": "lo"}  # one thread a worker, no network

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from children import PATIENCE  # noqa: E402
from filelock import FileLock  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from torch import nn  # noqa: E402
from training import make_teacher  # noqa: E402

torch.set_num_threads(1)

hypothesis.settings.register_profile("same_everywhere", derandomize=True, deadline=None)
hypothesis.settings.load_profile("same_everywhere")

ROOT = Path(__file__).parents[1]
LONGEST = ["test_every_method.py", "test_distributed.py", "test_own_attacks.py", "test_verdicts.py", "test_cli.py"]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}  # bytecode is kept for all processes
ADVDISTILL = [sys.executable, "-m", "advdistill"]


class Tiny(nn.Module):
    """A smooth network of a few parameters, without batch-norm."""

    def __init__(self, classes: int = 4, channels: int = 1, size: int = 4):
        super().__init__()
        self.hidden = nn.Linear(channels * size * size, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(x.flatten(1))))


def linear(x, y, classes):
    """Fit a linear model to the labels by least squares; it makes mistakes, and a small eps breaks it."""
    rows = torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1)
    targets = nn.functional.one_hot(y, classes).float()
    weights = torch.linalg.solve(rows.T @ rows + torch.eye(rows.shape[1]), rows.T @ targets)
    layer = nn.Linear(rows.shape[1] - 1, classes)
    layer.load_state_dict({"weight": 10 * weights[:-1].T, "bias": 10 * weights[-1]})
    return nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """A worker more than there are cores: many tests wait for child processes or a browser."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """Run slow test files, and those that wait for processes, first, so that none is left for one worker at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """A function that calls `make(folder)` once for all workers and returns the folder, which no test may change."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def made(name, make):
        folder, done = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def teacher(once):
    """The path of a checkpoint trained on the digits."""
    return str(once("teacher", make_teacher) / "teacher.safetensors")


@pytest.fixture
def blocks(monkeypatch):
    """A function that sets how many images an evaluation passes at once, so that few images make several blocks."""
    from advdistill.evaluation.context import Context

    return lambda images: monkeypatch.setattr(Context, "block", images)


@pytest.fixture(scope="module")
def blocks_of_64():
    """Evaluations pass 64 images at once."""
    from advdistill.evaluation.context import Context

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "block", 64)
        yield


@pytest.fixture(autouse=True)
def disk_at_rest(monkeypatch):
    """Skip fsync: on a busy disk the tests would mostly wait for it."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def without(monkeypatch):
    """A function that makes the import of a package fail."""

    def missing(package: str) -> None:
        for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
            monkeypatch.setitem(sys.modules, name, None)

    return missing


@pytest.fixture
def tiny():
    """A function that builds a `Tiny` network from a seed."""

    def build(seed: int = 0, **options) -> Tiny:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Tiny(**options)

    return build


@pytest.fixture
def batch():
    """Images [6, 1, 4, 4] in [0, 1] and labels of 4 classes."""
    rng = torch.Generator().manual_seed(0)
    return torch.rand(6, 1, 4, 4, generator=rng), torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, headless."""
    if not (chromium := shutil.which("chromium")):
        pytest.skip("PAGES ARE NOT TESTED IN A BROWSER: apt-get install chromium")
    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=1000 * PATIENCE)
        yield launched
        launched.close()
