"""Tests of recorded attacks, with a tape in place of a CUDA graph: it repeats the operations on the same memory."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from test_every_method import ATTACKING, Normed
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training import differences, four

from advdistill import PGD, Linf, methods
from advdistill._internal.rng import Rng
from advdistill.acceleration import cuda_graph as graphs
from advdistill.distiller import Distiller
from advdistill.losses import cross_entropy
from advdistill.methods import PGDAT, NuAT

LOOKS = ("_local_scalar_dense", "equal", "nonzero")  # operations that read values, which a recording device cannot do


class Tape(TorchDispatchMode):
    """A stand-in for `torch.cuda.CUDAGraph`."""

    times = 0

    def __init__(self):
        super().__init__()
        Tape.times += 1
        self.calls = []

    def pool(self):
        return "a pool"

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op.overloadpacket.__name__ in LOOKS:
            raise RuntimeError(f"{op} while recording")
        made = op(*args, **(kwargs or {}))
        self.calls.append((op, args, kwargs or {}, made))
        return made

    def replay(self):
        with torch._C._AutoDispatchBelowAutograd():
            for op, args, kwargs, made in self.calls:
                if not op.is_view:
                    self.overwrite(made, op(*args, **kwargs))

    def overwrite(self, made, again):
        for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
            if isinstance(old, torch.Tensor) and old is not new:
                old.copy_(new)


class Stream:
    def wait_stream(self, other):
        assert isinstance(other, Stream)


def recording(tape, pool, stream, capture_error_mode):
    assert pool == (None if Tape.times == 1 else "a pool") and isinstance(stream, Stream)
    return tape


@pytest.fixture
def taped(monkeypatch):
    """Make all attacks be recorded on a `Tape` and replayed."""
    monkeypatch.setattr(Tape, "times", 0)
    monkeypatch.setattr(Distiller, "_captures", lambda self, x: True)
    cuda = {"CUDAGraph": Tape, "graph": recording, "Stream": Stream, "current_stream": Stream}
    for name, stand_in in (cuda | dict.fromkeys(("device", "stream"), nullcontext)).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)


def recorded(name):
    """Whether a method's attack can be a graph: with the student in eval mode and without a sum over processes."""
    return methods.build(name).student_mode == "eval" and not name.startswith("nuat")


CASES = {name: (name, {}) for name in filter(recorded, ATTACKING)}
CASES |= {"rslad, mixed": ("rslad", {"label_mixing": 0.1}), "adaad, spared": ("adaad", {"teacher_every": 2})}


def steps(method, options=None, shapes=(6,) * 6, device="cpu"):
    """Yield x' and losses of epochs of two steps that change all that a training changes; `shapes` are batch sizes."""
    student, teacher, clean_teacher, peer = (network.to(device) for network in four(Normed).values())
    attack = PGD(3, 0.05, Linf(0.1))
    fast = {"fast": torch.float32, "compiled": device == "cuda"}
    distiller = Distiller(method, teacher, clean_teacher, attack, peer=peer, **fast, **options or {})
    trained = [*student.parameters(), *(p for network in distiller.trained.values() for p in network.parameters())]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    for at, images in enumerate(shapes):
        draws = torch.Generator().manual_seed(at)
        x, y = torch.rand(images, 1, 4, 4, generator=draws), (torch.arange(images) + at) % 4
        done = at / len(shapes)
        x, y, rng = x.to(device), y.to(device), Rng(at, device=device)
        made = distiller.craft(student, x, y, progress=done, rate=1 - done, rng=rng)
        losses = distiller.losses(made, student)
        optimizer.zero_grad()
        sum(loss.mean() for loss in losses.values()).backward()
        optimizer.step()
        yield {"x_adv": made.x_adv, "losses": losses}
        if at % 2:
            method.end_epoch(1.0)


@pytest.mark.parametrize("case", CASES)
def test_a_replayed_attack_is_the_attack(case, request):
    name, options = CASES[case]
    plain = list(steps(methods.build(name), options))
    request.getfixturevalue("taped")
    replayed = list(steps(method := methods.build(name), options))
    assert not differences(dict(enumerate(plain)), dict(enumerate(replayed)))
    assert Tape.times <= (4 if any(part.state for part in method.parts) else 1)


class Late(PGDAT):
    """A method whose attack depends on the progress and the rate, which may be tensors."""

    def inner(self, batch):
        return lambda x_adv: (batch.progress - batch.rate) * cross_entropy(batch.student(x_adv), batch.y)


def test_progress_and_rate_are_those_of_the_step(request):
    plain = list(steps(Late()))
    request.getfixturevalue("taped")
    assert not differences(dict(enumerate(plain)), dict(enumerate(steps(Late())))) and Tape.times == 1


def test_each_shape_is_recorded_once(request):
    shapes = (6, 5, 6, 5, 6, 5)
    plain = list(steps(PGDAT(), shapes=shapes))
    request.getfixturevalue("taped")
    assert not differences(dict(enumerate(plain)), dict(enumerate(steps(PGDAT(), shapes=shapes)))) and Tape.times == 2


def test_the_oldest_recording_makes_room(taped):
    run = graphs.CudaGraphs()
    for size in (1, 2, 3, 4, 5, 5, 1):
        given = {"x": torch.full((size,), 2.0)}
        assert torch.equal(run(lambda given: {"y": 3 * given["x"]}, given)["y"], 3 * given["x"])
    assert Tape.times == 6 and len(run.captured) == graphs.MOST


def test_what_comes_out_is_not_written_over(taped):
    run, x = graphs.CudaGraphs(), torch.tensor([1.0])
    first = run(lambda given: {"y": 3 * given["x"]}, {"x": x})["y"]
    assert run(lambda given: {"y": 3 * given["x"]}, {"x": x + 1})["y"] == 6 and first == 3


class Looks(PGDAT):
    """A method whose attack reads a tensor's value."""

    def inner(self, batch):
        weight = 2.0 if batch.student(batch.x).mean() > 0 else 1.0
        return lambda x_adv: weight * cross_entropy(batch.student(x_adv), batch.y)


class Asks(PGDAT):
    """A method whose attack needs a sum over all processes."""

    def inner(self, batch):
        return lambda x_adv: batch.total(batch.y) * cross_entropy(batch.student(x_adv), batch.y)


@pytest.mark.parametrize("method, reason", [
    (Looks, "aten._local_scalar_dense"), (Asks, "the attack's objective needs a sum over"),
    (NuAT, "the attack's objective needs a sum over"),
])  # fmt: skip
def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once(method, reason, request):
    plain = list(steps(method()))
    request.getfixturevalue("taped")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        replayed = list(steps(method()))
    assert not differences(dict(enumerate(plain)), dict(enumerate(replayed)))
    (said,) = caught
    assert str(said.message).startswith(f"The attack runs without a CUDA graph: {reason}")
