"""Short training runs, networks and comparisons that the tests share."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close

from advdistill import PGD, Data, Linf, Recipe, Run, Schedule, data, distill, methods, models
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.losses import cross_entropy
from advdistill.models import save
from advdistill.train import trainer as loop
from advdistill.train.state import State
from advdistill.train.trainer import Trainer


def short(method: str | dict = "rslad", teacher: str | None = None, **changes) -> Recipe:
    """Return a recipe of three epochs of six steps on 192 digits."""
    recipe = Recipe(
        method=methods.build(method) if isinstance(method, str) else methods.from_config(method),
        student="convnet-4",
        teacher=teacher,
        clean_teacher=teacher,
        data=Data("digits", validation=0.05, train_images=192, augment="shift"),
        attack=PGD(2, 0.1, Linf(0.2)),
        schedule=Schedule("onecycle", warmup=0.3),
        epochs=3,
        batch_size=32,
    )
    return replace(recipe, **changes)


def same_weights(first, second) -> bool:
    """Whether two safetensors files hold the same tensors, bit for bit; the order of their headers is random."""
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def taught(steps: int, **statistics) -> nn.Module:
    """Return a network trained on the digits for a few steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.create("convnet-8", 10, 1, **statistics)
    split = data.load("digits", "train")
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(steps):
        part = split.take(torch.arange(128 * step, 128 * (step + 1)) % len(split))
        loss = cross_entropy(model(to_float(part.images)), part.labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def make_teacher(folder) -> str:
    """Save a teacher's checkpoint; return its path."""
    path = folder / "teacher.safetensors"
    save(taught(40), path)
    return str(path)


ROLES = {"robust": "teacher", "clean": "clean_teacher", "peer": "peer"}  # role: its name as an argument of distill


def four(network: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    """Return a student and every teacher, each with its own weights, by their names as arguments of distill."""
    made = {}
    with torch.random.fork_rng(devices=[]):
        for seed, name in enumerate(("student", *ROLES.values())):
            torch.manual_seed(seed)
            made[name] = network()
    return made


def further(network: Callable[[], nn.Module], *roles: str) -> dict[str, dict[str, nn.Module]]:
    """Return teachers of further roles, as the argument `teachers` of distill."""
    made = {}
    with torch.random.fork_rng(devices=[]):
        for seed, role in enumerate(roles, 10):
            torch.manual_seed(seed)
            made[role] = network()
    return {"teachers": made}


def quick(
    folder: Path,
    networks: dict,
    method: str | dict,
    devices: int = 1,
    loggers: Sequence = (),
    train=None,
    validation=None,
    **changes,
) -> Run:
    """Train for a tenth of a second: by default, two epochs of three steps on 72 images [1, 4, 4] of four classes."""
    if pgd := changes.pop("pgd", None):
        changes["attack"] = PGD(threat=Linf(0.2), **pgd)
    recipe = short(method, **{"epochs": 2, "batch_size": 24, "validate_every": 2, "data": Data("random")} | changes)
    given = {"train": quick_data() if train is None else train, "validation": validation, "loggers": loggers}
    return distill(recipe, folder, accelerator="cpu", devices=devices, **given, **networks)


class Died(Exception):
    """Raised in place of a signal that kills a run."""


def died_at_saves(monkeypatch, train: Callable[[], Run], *before: int, after: int = 0) -> tuple[Run, list]:
    """Train a run that saves after every step, and that dies and is resumed several times.

    Args:
        before: numbers of saves, counted from 1 over all resumptions, at which the run dies before writing the state.
        after: number of a save at which the run dies after writing the state, 0 for none.

    Returns:
        The finished run, and epoch and batch of every save.
    """
    save, saves = State.save, []

    def dying(state, path):
        saves.append((state.at.epoch, state.at.batch))
        number = len(saves)
        if number in before:
            raise Died
        save(state, path)
        if number == after:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)
        patch.setattr(State, "save", dying)
        for _ in range(len(before) + bool(after)):
            with pytest.raises(Died):
                train()
        return train(), saves


def died_before(monkeypatch, step: int, train: Callable[[], object]) -> None:
    """Train a run that saves after every step, and that dies before the given step."""

    def dying(trainer, *arguments):
        if trainer.state.at.step == step:
            raise Died
        go(trainer, *arguments)

    go = Trainer._step
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(loop, "SAVE_SECONDS", -1)
        patch.setattr(Trainer, "_step", dying)
        train()


def quick_data() -> Split:
    """Return the training images of a `quick` run, its held-out part included."""
    images = torch.randint(256, (80, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(images, torch.arange(80) % 4, ("a", "b", "c", "d"), "random/train")


def state_of(run: Run) -> dict:
    return torch.load(run.state, weights_only=True)


def losses_of(run: Run) -> list[dict[str, float]]:
    """Return the mean losses of each epoch."""
    rows = map(json.loads, run.metrics.read_text().splitlines())
    return [{name: value for name, value in row.items() if name.startswith("loss/")} for row in rows]


def differences(first, second) -> list[str]:
    """Return the paths at which two nested values are not the same bit for bit."""
    a, b = dict(_leaves(first)), dict(_leaves(second))
    return [where for where in a | b if not _same(a.get(where), b.get(where))]


def _leaves(value, where: str = ""):
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, f"{where}/{key}")
    else:
        yield where, value


def _same(first, second) -> bool:
    both = isinstance(first, Tensor) and isinstance(second, Tensor)
    return torch.equal(first, second) if both else first is second or first == second


def assert_same_path(one: Run, other: Run) -> None:
    """Assert that runs are equal up to rounding: different numbers of processes add in another order."""
    first, second = state_of(one), state_of(other)
    for part in ("student", "trained", "modules", "method"):
        assert_close(first[part], second[part], rtol=1e-4, atol=1e-5)
    assert_close(load_file(one.last), load_file(other.last), rtol=1e-4, atol=1e-5)
    assert_close(losses_of(one), losses_of(other), rtol=1e-4, atol=0)
