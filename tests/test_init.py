"""Tests of `advdistill init`: its report on a user's images, and the recipes that it writes."""

import numpy as np
import pytest
from PIL import Image

from advdistill import PGD, Linf, Recipe, Result, Run, data
from advdistill.cli import main
from advdistill.cli.init import Draft
from advdistill.data.own.collection import Collection, Found, Survey, survey
from advdistill.data.own.pictures import Arrays, Header
from advdistill.methods import PGDAT, RSLAD
from advdistill.methods.cost import passes


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A folder `shapes` in the working directory: bars, dots and noise of 12 x 12 grey pixels, 20 of each."""
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    for name in ("bar", "dot", "noise"):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for i in range(20):
            image = random.randint(0, 120, (12, 12))
            image[4:8, slice(None) if name == "bar" else slice(4, 8)] += 120 * (name != "noise")
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / "shapes" / name / f"{i}.png")
    return tmp_path


def test_from_a_folder_to_an_evaluated_student(shapes, capsys):
    assert main(["init", "shapes"]) == 0
    shown = capsys.readouterr().out
    assert "12 x 12 (60)" in shown and "0 of 60 images in colour" in shown and "held out as the test split" in shown
    plan = [line.split()[1:] for line in shown.splitlines() if line.startswith("  advdistill ")]
    assert [command[0] for command in plan] == ["train", "train", "evaluate", "export"]
    assert plan[3] == ["export", "runs/shapes", "--to", "onnx-int8"]
    for command in plan[:2]:
        assert main([*command, "--epochs", "1", "--attack.steps", "1", "--suite", "None"]) == 0
    assert main([*plan[2], "--suite", "clean", "--n", "6"]) == 0
    assert Run("runs/shapes").recipe.teacher == "runs/shapes.teacher"
    result = Result.load("runs/shapes/result.json")
    assert result.data == "shapes/test" and result.fingerprint == data.load("shapes", "test").fingerprint()
    assert main(["init", "shapes"]) == 2 and "shapes.teacher.yaml exists already" in capsys.readouterr().err
    assert main(["evaluate", "runs/shapes", "--suite", "clean", "--data", "shapes/bar"]) == 2
    assert "shapes/bar has no folder for each class" in capsys.readouterr().err


def test_a_teacher_one_has(shapes, capsys):
    assert main(["init", "./shapes", "--teacher", "file:big.pt", "--out", "mine/small.yaml", "--size", "16"]) == 0
    assert [path.name for path in (shapes / "mine").iterdir()] == ["small.yaml"]
    recipe = Recipe.from_yaml((shapes / "mine" / "small.yaml").read_text())
    assert (recipe.method, recipe.teacher) == (RSLAD(), "file:big.pt")
    assert (recipe.data.name, recipe.data.size) == ("./shapes", 16)
    assert "train mine/small.yaml --out runs/small\n" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["shapes", "--out", "recipe.txt"], "recipe.txt must end in .yaml"),
    (["shapes", "--size", "4"], "data.size must lie between 8 and 512"),
    (["flowers"], "Unknown dataset 'flowers'"),
    (["shapes"], "1 of 60 images of shapes cannot be read: bar/0.png (truncated)"),
])  # fmt: skip
def test_mistakes_leave_nothing(shapes, capsys, arguments, message):
    if "read:" in message:
        image = shapes / "shapes" / "bar" / "0.png"
        image.write_bytes(image.read_bytes()[:60])
    assert main(["init", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in shapes.iterdir()] == ["shapes"]


def test_duplicates_are_counted_by_their_pixels():
    a, b, c, d = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
    train, test = Arrays(np.stack([a, a, a, b, c]), "train"), Arrays(np.stack([a, b, b, d]), "test")
    found = Found({"train": (train, list("xxxyx")), "test": (test, list("xyyx"))})
    seen = survey(Collection.of("x", found))
    assert seen.repeated == {"train": 2, "test": 1} and seen.shared == 3 and seen.conflicting_labels == 0
    assert seen.counts == {"train": (4, 1), "test": (2, 2)} and seen.sizes == {(8, 8): 9}
    found = Found({"train": (train, list("xyxyx")), "test": (test, list("xyyx"))})
    assert survey(Collection.of("x", found)).conflicting_labels == 1


def draft(side, colour=True, images=1000, classes=("cat", "dog"), size=None, name="x"):
    headers = tuple(Header(each, each + 3, colour, False) for each in np.atleast_1d(side).tolist())
    seen = Survey(Collection(name, classes, {}, ()), {"train": (images,)}, headers, (), {}, 0, 0)
    return Draft(seen, name, size)


@pytest.mark.parametrize(("made", "attack", "augment", "networks", "size"), [
    (draft(8, False), PGD(3, 0.1, Linf(0.2)), "shift", ("convnet-24", "convnet-4"), None),
    (draft(28, False, 60_000), PGD(3, 0.05, Linf(0.1)), "crop_flip", ("resnet20", "resnet8"), None),
    (draft(28, False, classes=("0", "1")), PGD(3, 0.05, Linf(0.1)), "shift", ("resnet20", "resnet8"), None),
    (draft(32), PGD(3, "4/255", Linf("8/255")), "crop_flip", ("resnet20", "resnet8"), None),
    (draft(32, images=50_000), PGD(3, "4/255", Linf("8/255")), "crop_flip", ("resnet18", "mobilenet_v2"), None),
    (draft(64), PGD(3, "2/255", Linf("4/255")), "crop_flip", ("resnet20", "resnet8"), None),
    (draft([20, 40, 400]), PGD(3, "4/255", Linf("8/255")), "crop_flip", ("resnet20", "resnet8"), 32),
    (draft([90, 100, 400]), PGD(3, "2/255", Linf("4/255")), "crop_flip", ("resnet20", "resnet8"), 64),
    (draft([90, 100, 400], size=128), PGD(3, "2/255", Linf("4/255")), "crop_flip", ("resnet20", "resnet8"), 128),
])  # fmt: skip
def test_what_is_chosen(made, attack, augment, networks, size):
    recipes = Recipe.from_yaml(made.teacher()), Recipe.from_yaml(made.student("runs/t"))
    assert tuple(recipe.student for recipe in recipes) == networks
    assert [recipe.method for recipe in recipes] == [PGDAT(), RSLAD()]
    assert [recipe.teacher for recipe in recipes] == [None, "runs/t"]
    for recipe in recipes:
        assert recipe.attack == attack and (recipe.data.augment, recipe.data.size) == (augment, size)
        assert recipe.statistics == "adversarial"


@pytest.mark.parametrize(("images", "epochs"), [(1000, 60), (60_000, 30)])
def test_its_epochs_have_the_passes_of_fewer_with_ten_attack_steps(images, epochs):
    made = draft(32, images=images)
    for text in (made.teacher(), made.student("runs/t")):
        recipe = Recipe.from_yaml(text)
        ours, tens = (sum(passes(recipe.method, steps).values()) for steps in (3, 10))
        assert recipe.epochs * ours == pytest.approx(epochs * tens, rel=0.03)
        assert f"{epochs} epochs of ten attack steps" in text


@pytest.mark.parametrize(("images", "batch", "teachers", "students"), [
    (499, 16, 0.05, 0.2), (500, 64, 0.1, 0.4), (9_999, 64, 0.1, 0.4), (10_000, 128, 0.1, 0.1),
])  # fmt: skip
def test_the_rate_follows_the_batch_and_the_network(images, batch, teachers, students):
    made = draft(32, images=images)
    for text, rate in ((made.teacher(), teachers), (made.student("runs/t"), students)):
        recipe = Recipe.from_yaml(text)
        assert (recipe.batch_size, recipe.optimizer.lr) == (batch, rate)


def test_any_name_survives_yaml():
    name = "C:\\my data: {x} #1 \"quoted\" 'é'\n- [a"
    recipe = Recipe.from_yaml(draft(32, name=name).student(name))
    assert recipe.data.name == name and recipe.teacher == name
