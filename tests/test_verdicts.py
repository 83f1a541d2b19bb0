"""Tests of verdicts on each image: saved after every batch, resumed, shared among processes."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from children import PATIENCE, Child, advdistill, free_port
from conftest import ENV
from safetensors import safe_open
from safetensors.torch import load_file

from advdistill import Linf, Result, data, evaluate, models
from advdistill.evaluation import measure as measuring
from advdistill.evaluation.verdicts import Verdicts
from advdistill.models.digest import digest
from advdistill.results.files import remove_unfinished

ATTACKS = ("clean", "fgsm", "pgd-20")


@pytest.fixture(scope="module")
def model(teacher):
    return models.load(teacher)


def verdicts(path):
    """Load a file's verdicts, without its seconds and its flags of images whose first gradient vanished."""
    no = (".seconds", ".no_gradient")
    return {name: tensor for name, tensor in load_file(path).items() if not name.endswith(no)}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_image_has_its_verdict(model, tmp_path):
    split = data.load("digits", "test").first(100)
    result = evaluate(model, split, Linf(0.1), "quick", batch_size=30, keep=tmp_path / "v.safetensors")
    kept = verdicts(tmp_path / "v.safetensors")
    assert set(kept) == set(ATTACKS)
    assert [int(kept[name].sum()) for name in ATTACKS] == [result[name].correct for name in ATTACKS]
    assert torch.equal(kept["clean"].bool(), model(split.images / 255).argmax(1) == split.labels)
    assert not (kept["pgd-20"] > kept["clean"]).any()


def test_no_place_given_is_no_place_however_it_is_written(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = data.load("digits", "test").first(20)
    result = evaluate(model, split, Linf(0.1), "clean,fgsm", keep="", keep_images="")
    assert result["fgsm"].correct == evaluate(model, split, Linf(0.1), "clean,fgsm")["fgsm"].correct
    assert list(tmp_path.iterdir()) == []


class Died(Exception):
    pass


@pytest.mark.parametrize(("batch_size", "unsaved"), [(30, 1e6), (200, 0)])
def test_stopped_after_any_block_it_goes_on_where_it_was(model, tmp_path, monkeypatch, blocks, batch_size, unsaved):
    blocks(30)
    monkeypatch.setattr(measuring, "UNSAVED", unsaved)
    split = data.load("digits", "test").first(200)
    settings = {"threat": Linf(0.1), "suite": "clean,pgd-20,fgsm", "batch_size": batch_size}
    whole = evaluate(model, split, keep=tmp_path / "whole.safetensors", **settings)
    calls, real = [], measuring._attacked

    def dying(*args):
        calls.append(args[2])
        if len(calls) in (3, 9, 17):
            raise Died
        return real(*args)

    monkeypatch.setattr(measuring, "_attacked", dying)
    for _ in range(3):
        with pytest.raises(Died):
            evaluate(model, split, keep=tmp_path / "died.safetensors", **settings)
    died = evaluate(model, split, keep=tmp_path / "died.safetensors", **settings)
    assert len(calls) == 3 * 7 + 3  # only the three blocks that died are attacked twice
    assert [m.correct for m in died.measurements] == [m.correct for m in whole.measurements]
    assert same(verdicts(tmp_path / "whole.safetensors"), verdicts(tmp_path / "died.safetensors"))


@pytest.mark.parametrize(("change", "named"), [
    ({"seed": 1}, "seed"),
    ({"threat": Linf(0.2)}, "threat"),
    ({"n": 90}, "images"),
    ({"accelerated": True}, "searched"),
])  # fmt: skip
def test_an_unfinished_evaluation_of_another_kind_is_refused(model, tmp_path, change, named):
    settings = {"threat": Linf(0.1), "suite": "clean", "keep": tmp_path / "v.safetensors"}
    split = data.load("digits", "test").first(100)
    evaluate(model, split, **settings)
    with pytest.raises(ValueError, match=rf"unfinished evaluation of another kind \({named} differ\)"):
        evaluate(model, split, **(settings | change))


def test_another_model_or_other_images_are_refused(model, tmp_path):
    split = data.load("digits", "test").first(100)
    settings = {"threat": Linf(0.1), "suite": "clean", "keep": tmp_path / "v.safetensors"}
    evaluate(model, split, **settings)
    with pytest.raises(ValueError, match=r"another kind \(weights differ\)"):
        evaluate(models.create("convnet-8", 10, 1), split, **settings)
    with pytest.raises(ValueError, match=r"another kind \(fingerprint differ\)"):
        evaluate(model, split.take(range(99, -1, -1)), **settings)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not verdicts at all"])
def test_damage_is_explained(model, tmp_path, damage):
    path, split = tmp_path / "v.safetensors", data.load("digits", "test").first(50)
    evaluate(model, split, Linf(0.1), "clean", keep=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="v.safetensors is damaged.*Delete it to start the evaluation afresh"):
        evaluate(model, split, Linf(0.1), "clean", keep=path)


def test_the_digest_names_weights():
    first, second = (models.create("convnet-4", 10, 1) for _ in range(2))
    assert digest(first) != digest(second)
    second.load_state_dict(first.state_dict())
    assert digest(first) == digest(second)
    second.bn1.running_mean[0] += 1e-6
    assert digest(first) != digest(second)


def test_two_files_make_one_when_each_knows_a_part(tmp_path):
    for rank, start in ((0, 0), (1, 2)):
        part = Verdicts(4, {"a": "b"}, tmp_path / "v", rank)
        part.begin("pgd", {"distance": torch.float32})
        part.put("pgd", start, torch.tensor([True, False]), {"distance": torch.tensor([0.0, 0.5])}, 2.0)
    both = Verdicts(4, {"a": "b"}, tmp_path / "v")
    assert both.tensors["pgd"].tolist() == [1, 0, 1, 0] and both.knows("pgd", 0, 4) and both.seconds("pgd") == 4.0
    remove_unfinished(tmp_path / "v")
    assert not list(tmp_path.iterdir())


def shortened():
    """Patch AutoAttack to a hundredth of its budget; to be called in a separate process."""
    import pyautoattack

    build = pyautoattack.AutoAttack._set_version

    def short(self, version):
        build(self, version)
        self.apgd.n_iter = self.apgd_targeted.n_iter = 8
        self.fab.n_iter, self.square.n_queries = 3, 100

    pyautoattack.AutoAttack._set_version = short


SHORTENED = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_verdicts import shortened
from advdistill.cli import main
shortened()
sys.exit(main())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, teacher):
    """A folder with a checkpoint, and the uninterrupted evaluation `whole.json`."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(teacher, folder)
    done = advdistill(*command("whole.json"), cwd=folder, before=shortened)
    assert done.returncode == 0, done.stderr
    return folder


def command(out, *more, size=20):
    """Return a command that evaluates every named attack on four blocks of images."""
    suite = ["--suite", "full,blackbox", "--surrogate", "teacher.safetensors"]
    options = ["--data", "digits", "--eps", "0.1", *suite, "--n", "240", "--batch-size", str(size)]
    return ["evaluate", "teacher.safetensors", *options, "--out", out, *more]


def test_killed_at_random_moments_autoattack_ends_with_the_verdicts_of_an_unbroken_one(place):
    luck, unfinished = random.Random(0), place / "killed.unfinished.safetensors"
    for kill in range(5):
        child = Child(*command("killed.json", size=(20, 1, 7, 64, 20)[kill]), cwd=place, before=shortened)
        child.until(lambda kill=kill: unfinished.exists() and evaluated(unfinished) > 40 * kill)
        time.sleep(0.1 * luck.random())
        child.send(signal.SIGKILL)
        child.wait()
    done = advdistill(*command("killed.json", size=1000), cwd=place, before=shortened)
    assert done.returncode == 0, done.stderr
    assert same(verdicts(place / "whole.verdicts.safetensors"), verdicts(place / "killed.verdicts.safetensors"))
    assert not unfinished.exists()


def evaluated(path):
    with safe_open(path, "pt") as file:
        names = file.keys()
        return int((file.get_tensor("autoattack") < 255).sum()) if "autoattack" in names else 0


def test_two_processes_give_the_verdicts_of_one(place):
    (place / "short.py").write_text(SHORTENED)  # the second process is begun by the same script
    script = [sys.executable, "short.py", *command("two.json", "--devices", "2", size=7)]
    env = ENV | {"MASTER_PORT": str(free_port())}
    done = subprocess.run(script, cwd=place, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    whole, two = verdicts(place / "whole.verdicts.safetensors"), verdicts(place / "two.verdicts.safetensors")
    assert same(whole, two)
    assert [m.correct for m in Result.load(place / "two.json").measurements] == [
        m.correct for m in Result.load(place / "whole.json").measurements
    ]


def test_the_notes_say_which_attack_broke_an_image_and_how_far_away(place):
    kept = verdicts(place / "whole.verdicts.safetensors")
    stands, by, distance = kept["autoattack"].bool(), kept["autoattack.by"], kept["autoattack.distance"]
    assert 0 < stands.sum() < kept["clean"].sum()
    assert torch.equal(by == 0, kept["clean"] == 0) and torch.equal(by == 5, stands)
    broken = (by > 0) & (by < 5)
    assert (distance[~broken] == 0).all() and (0 < distance[broken]).all() and (distance[broken] <= 0.1 + 1e-6).all()
    with safe_open(place / "whole.verdicts.safetensors", "pt") as file:
        facts = file.metadata()
    result = Result.load(place / "whole.json")
    assert len(facts.pop("tag")) == 64
    measured = {m.attack: [m.settings, m.n, m.correct] for m in result.measurements}
    assert json.loads(facts.pop("attacks")) == measured and facts.pop("elsewhere") == "[]"
    assert facts == {"fingerprint": data.load("digits", "test").fingerprint(), "threat": "Linf 0.1", "seed": "0",
                     "weights": result.weights}  # fmt: skip


def test_verdicts_join_and_part_with_their_results(place):
    def run(*options):
        command = ["evaluate", "teacher.safetensors", "--data", "digits", "--out", "joined.json", *options]
        done = advdistill(*command, cwd=place)
        assert done.returncode == 0, done.stderr
        return verdicts(place / "joined.verdicts.safetensors")

    assert set(run("--suite", "clean", "--eps", "0.1")) == {"clean"}
    assert set(run("--suite", "fgsm", "--eps", "0.1")) == {"clean", "fgsm"}
    assert set(run("--suite", "pgd-20", "--eps", "0.2")) == {"pgd-20"}
    older = sorted(path.name for path in place.glob("joined-*"))
    assert len(older) == 2 and older[0].endswith(".json") and older[1].endswith(".verdicts.safetensors")
    names = [m["attack"] for m in json.loads((place / older[0]).read_text())["measurements"]]
    assert names == ["clean", "fgsm"] and set(verdicts(place / older[1])) == {"clean", "fgsm"}
