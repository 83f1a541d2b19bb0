"""Tests of several processes over gloo: forks, and two that `distill` starts (torchrun: test_every_method.py)."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from children import PATIENCE, free_port, together
from conftest import ENV, ROOT, Tiny
from in_processes import Normed, main
from lightning_fabric import Fabric
from torch.testing import assert_close
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from training import assert_same_path, differences, four, losses_of, quick, quick_data, short

from advdistill import Data, Run
from advdistill.data.loaded import Loaded
from advdistill.results.metrics import read_metrics
from advdistill.train.checkpoints import accuracies
from advdistill.train.distributed import naming_lost_processes
from advdistill.train.given import check_loader

RUNS = {name: {"method": name, "validate_every": 1} for name in ("rslad", "adaad+igdm", "bmtard")}


def run(folder, processes: int, dies: int):
    command = [sys.executable, ROOT / "tests" / "in_processes.py", folder, str(processes), json.dumps(RUNS), str(dies)]
    env = ENV | {"MASTER_PORT": str(free_port())}
    return subprocess.run(command, env=env, cwd=folder.parent, capture_output=True, text=True,
                          timeout=PATIENCE)  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of the runs by one process."""
    folder = tmp_path_factory.mktemp("distributed") / "one"
    main(folder, 1, RUNS)
    return folder


def check(folder, one):
    for name in RUNS:
        assert_same_path(Run(one / name), Run(folder / name))
        assert_close(losses_of(Run(folder / name)), losses_of(Run(one / name)), rtol=0, atol=1e-6)


def test_four_processes_follow_the_path_of_one(tmp_path, one):
    for done in together(4, lambda: main(tmp_path / "four", 4, RUNS)):
        assert done.returncode == 0, done.stderr
    check(tmp_path / "four", one)


def test_one_that_dies_is_noticed_and_one_or_four_continue_what_two_began(tmp_path, one):
    done = run(tmp_path / "two", 2, 5)  # in the second epoch of the first run
    assert done.returncode != 0
    assert "ConnectionError: Another process of " in done.stderr and "run the same command to resume" in done.stderr
    shutil.copytree(tmp_path / "two", tmp_path / "by_four")
    assert Run(tmp_path / "two" / "rslad").state.exists()
    main(tmp_path / "two", 1, RUNS)
    check(tmp_path / "two", one)
    for done in together(4, lambda: main(tmp_path / "by_four", 4, RUNS)):
        assert done.returncode == 0, done.stderr
    check(tmp_path / "by_four", one)


@pytest.mark.parametrize(("processes", "message", "kind", "said"), [
    (2, "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1", ConnectionError,
     "Another process of runs/x has ended or cannot be reached.* run the same command to resume"),
    (1, "Connection closed", RuntimeError, "^Connection closed$"),
    (2, "shapes cannot be multiplied", RuntimeError, "^shapes cannot be multiplied$"),
])  # fmt: skip
def test_a_lost_process_is_named(processes, message, kind, said):
    with pytest.raises(kind, match=said), naming_lost_processes(SimpleNamespace(world_size=processes), Run("runs/x")):
        raise RuntimeError(message)


def test_each_process_draws_its_own_batches_of_a_loader(tmp_path):
    """The run equals one process's on the joined batches: DistributedSampler deals out an epoch's images in turn."""
    for done in together(2, lambda: main(tmp_path / "two", 2, {"rslad": {"method": "rslad", "loaded": True}})):
        assert done.returncode == 0, done.stderr
    train, validation = quick_data().holdout(0.1, 0)
    dataset = TensorDataset(train.images, train.labels)

    class Joined:
        def set_epoch(self, epoch):
            samplers = [DistributedSampler(dataset, 2, rank) for rank in (0, 1)]
            for sampler in samplers:
                sampler.set_epoch(epoch)
            dealt = [torch.tensor(list(sampler)).split(8) for sampler in samplers]
            self.batches = [torch.cat(parts).tolist() for parts in zip(*dealt, strict=True)]

        def __iter__(self):
            return iter(self.batches)

        def __len__(self):
            return 5  # 72 images, 36 for each process

    sampler = Joined()
    sampler.set_epoch(0)
    loader = DataLoader(dataset, batch_sampler=sampler)
    one = quick(tmp_path / "one", four(Tiny), "rslad", train=loader, validation=validation, batch_size=16)
    assert_same_path(one, Run(tmp_path / "two" / "rslad"))


def test_processes_that_would_draw_the_same_batches_are_refused(tmp_path):
    refused = {"rslad": {"method": "rslad", "loaded": True, "swa": 1}}
    for done in together(2, lambda: main(tmp_path / "two", 2, refused)):
        assert "swa estimates the batch-norm of the average by a pass over all images" in done.stderr
    loaded = Loaded(DataLoader(TensorDataset(*quick_tensors()), 8), ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match=r"Each of 2 processes would .* DistributedSampler\(dataset, num_replicas=2"):
        check_loader(loaded, short(data=Data("x"), batch_size=16), 0, 2)


def quick_tensors():
    split = quick_data()
    return split.images, split.labels


def test_processes_that_cannot_synchronise_batch_norm_hold_and_validate_one_network(tmp_path):
    for done in together(2, lambda: main(tmp_path / "two", 2, {"adaad": {"method": "adaad", "normed": True}})):
        assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / "two" / f"adaad.{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["hidden.1.running_mean"].abs().max() > 0 and not differences(first, second)
    made = Run(tmp_path / "two" / "adaad")
    student = Normed()
    student.load_state_dict(first)
    held_out = quick_data().holdout(made.recipe.data.validation, made.recipe.seed)[1]
    one, recipe = Fabric(accelerator="cpu", devices=1), made.recipe
    found = accuracies(student, held_out, recipe.attack.threat, recipe.seed, one)
    (row,) = (row for row in read_metrics(made.metrics) if "clean" in row)
    assert found == {name: row[name] for name in found}
