"""A verdict depends on the seed, the attack and the image: not on batch size, processes or interruptions."""

import multiprocessing
import os
import signal

import pyautoattack
import pytest
import torch
from children import PATIENCE
from conftest import linear
from safetensors.torch import load_file, save_file
from test_verdicts import shortened

from advdistill import L2, Linf, data, evaluate, models
from advdistill._internal.rng import ImageRng
from advdistill.attacks.base import Attack
from advdistill.attacks.suites import ATTACKS, pgd_20
from advdistill.data.batches import to_float
from advdistill.evaluation.context import Context
from advdistill.evaluation.networks import EvaluatedModel
from advdistill.evaluation.verdicts import UNKNOWN, Verdicts

TEST = data.load("digits", "test").first(70)  # two blocks, of 64 and of 6
SIZES = (1, 7, 64, 1000)
pytestmark = pytest.mark.usefixtures("blocks_of_64")


@pytest.fixture(scope="module")
def model(teacher):
    return models.load(teacher).eval()


@pytest.fixture
def short_autoattack(monkeypatch):
    monkeypatch.setattr(pyautoattack.AutoAttack, "_set_version", pyautoattack.AutoAttack._set_version)
    shortened()


def own(model, x, y, *, rng):
    """An attack that draws from every source of randomness that it has."""
    drawn = rng.uniform(x) + rng.normal(x) + torch.rand(x.shape, generator=rng.generator) + torch.rand_like(x)
    return (x + 0.1 * drawn.sign()).clamp(0, 1)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
@pytest.mark.parametrize("attack", [*ATTACKS, own], ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_the_verdicts_and_the_images_do_not_depend_on_the_batch_size(
    model, tmp_path, short_autoattack, attack, threat
):
    torch.manual_seed(0)
    surrogate, found = models.create("convnet-4", 10, 1), {}
    for size in SIZES:
        keep, images = tmp_path / f"{size}.safetensors", tmp_path / f"{size}.adv"
        evaluate(model, TEST, threat, attacks=["clean", attack], batch_size=size, surrogate=surrogate, keep=keep,
                 keep_images=images)  # fmt: skip
        verdicts = {name: one for name, one in load_file(keep).items() if not name.endswith(".seconds")}
        x_adv = {file.name: load_file(file)["x_adv"] for file in images.iterdir()} if images.exists() else {}
        found[size] = verdicts | x_adv
    for size in SIZES[1:]:
        assert found[size].keys() == found[1].keys()
        assert all(torch.equal(found[size][name], found[1][name]) for name in found[1]), size


def test_each_image_has_draws_of_its_own():
    like = torch.empty(5, 1, 2, 3)
    whole, parts = ImageRng(3, "attack", places=range(5)), [ImageRng(3, "attack", places=p) for p in ([3], [1, 4])]
    for draw in ("uniform", "normal", "uniform"):
        rows = getattr(whole, draw)(like)
        assert torch.equal(getattr(parts[0], draw)(like[:1]), rows[[3]])
        assert torch.equal(getattr(parts[1], draw)(like[:2]), rows[[1, 4]])
    assert not torch.equal(whole.uniform(like), whole.uniform(like))
    assert not torch.equal(ImageRng(4, "attack", places=range(5)).uniform(like), ImageRng(
        3, "attack", places=range(5)).uniform(like))  # fmt: skip
    assert torch.equal(whole.child("a").uniform(like)[[2]], parts[0].child("a").uniform(like[:1])) is False
    assert torch.equal(whole.child("a").uniform(like)[[3]], parts[0].child("a").uniform(like[:1]))


def test_the_draws_are_those_of_splitmix64_computed_by_hand():
    rng, mask = ImageRng(0, "attack", places=[7]), 2**64 - 1
    state, found = int(rng._states[0]), rng.uniform(torch.empty(1, 1, 2, 2)).flatten()
    for i in range(4):
        z = (state + (i + 1) * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        assert found[i].item() == ((z ^ (z >> 31)) >> 40) / 2**24


def test_the_draws_are_uniform_and_normal():
    like, rng = torch.empty(100, 1, 100, 100), ImageRng(1, "attack", places=range(100))
    uniform, normal = rng.uniform(like), rng.normal(like)
    assert 0 <= uniform.min() and uniform.max() < 1
    counts = torch.histc(uniform, 16, 0, 1)
    assert ((counts - 62500).abs() < 5 * 62500**0.5).all()
    assert abs(normal.mean()) < 0.005 and abs(normal.std() - 1) < 0.005 and normal.isfinite().all()
    for drawn in (uniform - 0.5, normal):  # neighbours, within and between images, are uncorrelated
        rows = drawn.flatten(1)
        for first, second in ((rows[:, 1:], rows[:, :-1]), (rows[1:], rows[:-1]), (uniform.flatten(1) - 0.5, rows)):
            if first is not second and not torch.equal(first, second):
                correlated = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
                assert abs(correlated) < 0.005


def test_copies_of_a_batch_are_drawn_for_too():
    rng = ImageRng(1, "attack", places=range(3))
    drawn = rng.uniform(torch.empty(7, 1, 2, 2))
    assert drawn.flatten().unique().numel() == 28
    alone = ImageRng(1, "attack", places=[2]).uniform(torch.empty(2, 1, 2, 2))
    assert torch.equal(drawn[2], alone[0]) and torch.equal(drawn[5], alone[1])
    assert rng.uniform(torch.empty(0, 1, 2, 2)).shape == (0, 1, 2, 2)


def test_a_part_of_the_images_is_attacked_from_the_same_starts(model):
    context = Context(EvaluatedModel(model, TEST), TEST, Linf(0.1))
    starts = []

    class Sees(Attack):
        name = "sees"

        def __call__(self, model, x, y, *, rng):
            starts.append(pgd_20(Linf(0.1)).pgd.begin(x, rng))
            return x

    among = torch.arange(70) % 3 == 1
    context.correct(Sees())
    context.correct(Sees(), among=among)
    whole, part = torch.cat(starts[:2]), starts[2]
    assert torch.equal(whole[among], part)
    twice = torch.zeros(70, dtype=torch.bool)
    twice[[4, 65]] = True
    later = Context(context.model, TEST.take(torch.tensor([4, 10, 65])), places=torch.tensor([4, 10, 65]))
    starts.clear()
    later.correct(Sees(), among=torch.tensor([True, False, True]))
    assert torch.equal(starts[0], whole[twice])


def test_verdicts_are_saved_after_so_many_images(model, monkeypatch, tmp_path, blocks):
    blocks(10)
    saved, save = [], Verdicts._save
    monkeypatch.setattr(
        Verdicts, "_save", lambda self: (saved.append(int((self.tensors["clean"] < 255).sum())), save(self))
    )
    for size, known in ((1, [10, 20, 30, 40, 50, 60, 70]), (25, [20, 40, 60, 70]), (1000, [70])):
        evaluate(model, TEST, Linf(0.1), "clean", batch_size=size, keep=tmp_path / f"{size}.safetensors")
        assert saved == known
        saved.clear()


def share(rank: int, model, folder, meeting: str, dies: int | None) -> None:
    """Run one of two processes of an evaluation; rank `dies` kills itself before its second verdicts under PGD-20."""
    put, puts = Verdicts.put, []

    def dying(self, attack, *arguments):
        puts.append(attack)
        if rank == dies and puts.count("pgd-20") == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, attack, *arguments)

    Verdicts.put = dying
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/{meeting}", rank=rank, world_size=2)
    evaluate(model, TEST, Linf(0.1), "clean,fgsm,pgd-20", batch_size=1, shared=True, keep=folder / "v.safetensors",
             keep_images=folder / "v.adv")  # fmt: skip
    torch.distributed.destroy_process_group()


def in_two_processes(*arguments) -> list[int | None]:
    """Run `share` in two processes; return their exit codes, or minus the signal that ended one."""
    workers = [multiprocessing.get_context("fork").Process(target=share, args=(r, *arguments)) for r in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    return [worker.exitcode for worker in workers]


@pytest.mark.parametrize(("dies", "processes"), [(1, 1), (0, 2)])
def test_one_of_two_processes_is_killed_and_one_or_two_continue(model, tmp_path, blocks, monkeypatch, dies, processes):
    blocks(10)  # seven blocks; the first process has those that begin at 0, 20, 40 and 60
    keep, images = tmp_path / "v.safetensors", tmp_path / "v.adv"
    expected = {name: tmp_path / f"whole.{name}" for name in ("safetensors", "adv")}
    evaluate(model, TEST, Linf(0.1), "clean,fgsm,pgd-20", keep=expected["safetensors"], keep_images=expected["adv"])

    codes = in_two_processes(model, tmp_path, "first", dies)
    assert codes[dies] == -signal.SIGKILL and codes[1 - dies] == 1  # the other process notices
    known = torch.minimum(*(load_file(file)["pgd-20"] for file in (keep, tmp_path / "v.safetensors.1"))) != UNKNOWN
    assert known[::10].tolist() == [start == 10 * dies or start // 10 % 2 != dies for start in range(0, 70, 10)]

    attacked, attack = [], Context.attack
    monkeypatch.setattr(Context, "attack", lambda self, one, start, *rest: (
        attacked.append((one.name, start)), attack(self, one, start, *rest))[1])  # fmt: skip
    if processes == 2:
        assert in_two_processes(model, tmp_path, "second", None) == [0, 0]
    else:
        evaluate(model, TEST, Linf(0.1), "clean,fgsm,pgd-20", keep=keep, keep_images=images)
        assert {start for name, start in attacked if name == "pgd-20"} == {30, 50}
    found, whole = load_file(keep), load_file(expected["safetensors"])
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole if not name.endswith(".seconds"))
    for file in expected["adv"].iterdir():
        assert torch.equal(load_file(images / file.name)["x_adv"], load_file(file)["x_adv"])


def test_what_an_earlier_version_left_is_set_aside_and_not_mixed(tmp_path):
    model, keep, images = linear(to_float(TEST.images), TEST.labels, 10), tmp_path / "v.safetensors", tmp_path / "v.adv"
    flags, lines = torch.ones(70, dtype=torch.uint8), []
    for file in (keep, tmp_path / "v.safetensors.1"):
        earlier = {"batch_size": "256", "seed": "0", "weights": "0" * 12}
        save_file({"clean": flags, "fgsm": flags.clone()}, file, earlier)
    images.mkdir()
    (images / "fgsm.000020.safetensors").write_bytes(b"of the earlier version")
    options = {"keep": keep, "keep_images": images}
    found = evaluate(model, TEST, Linf(0.1), "clean,fgsm", report=lines.append, **options)
    fresh = evaluate(model, TEST, Linf(0.1), "clean,fgsm")
    assert [m.correct for m in found.measurements] == [m.correct for m in fresh.measurements] != [70, 70]
    assert lines[0] == (
        f"{keep} was not written with this user's key, so its verdicts are not used: all images are attacked afresh. "
        "The file is now set-aside.v.safetensors."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "set-aside.v.adv", "set-aside.v.safetensors", "set-aside.v.safetensors.1", "v.adv", "v.safetensors",
    ]  # fmt: skip
    assert sorted(file.name for file in images.iterdir()) == ["fgsm.000000.safetensors", "fgsm.000064.safetensors"]
    again = evaluate(model, TEST, Linf(0.1), "clean,fgsm", report=lines.append, **options)
    assert again.measurements == found.measurements and not any("key" in line for line in lines[2:])
