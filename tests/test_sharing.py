"""`advdistill push`: a folder that reads back bit for bit, and a card that claims what was measured and no more."""

import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from training import short

from advdistill import Linf, Result, cli, data, distill, evaluate, models
from advdistill.cli.push import Push
from advdistill.models.checkpoint import provenance

TEST = data.load("digits", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory, teacher):
    """A teacher's checkpoint, and a run with those weights and without a result."""
    folder = tmp_path_factory.mktemp("place")
    distill(short("rslad", teacher, epochs=1, student="convnet-8"), folder / "run", accelerator="cpu")
    best = folder / "run" / "best.safetensors"
    models.save(models.load(teacher), best, provenance(best))  # an epoch learns too little for figures that differ
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of `made` that a test may change."""
    return shutil.copytree(made, tmp_path / "place")


def measured(place, suite, n=40, **changes):
    result = evaluate(models.load(place / "run"), TEST, Linf(0.1), suite, n=n, name="run")
    replace(result, command="advdistill evaluate run", **changes).save(place / "run" / "result.json")
    return result


def read(folder):
    """Return the card's front matter and its text."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_a_pushed_folder_is_the_network_bit_for_bit(place, tmp_path):
    assert Push(str(place / "run"), str(tmp_path / "m"))() == 0
    there, here = models.load(tmp_path / "m" / "model.safetensors"), models.load(place / "run")
    assert there.spec == here.spec
    assert all(torch.equal(a, b) for a, b in zip(there.state_dict().values(), here.state_dict().values(), strict=True))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(there(x), here(x))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["library_name"] == "advdistill" and config["name"] == "convnet-8"


def test_without_a_result_the_card_states_no_figure(place, tmp_path):
    (place / "run" / "result.json").unlink(missing_ok=True)
    Push(str(place / "run"), str(tmp_path / "m"))()
    front, text = read(tmp_path / "m")
    assert "Robust accuracy: not measured. This card states none." in text
    assert "model-index" not in front and not list((tmp_path / "m").glob("*result.json")) and " % " not in text


def test_the_card_has_the_figures_and_says_that_autoattack_was_not_run(place, tmp_path):
    result = measured(place, "clean,fgsm,pgd-20")
    Push(str(place / "run"), str(tmp_path / "m"))()
    front, text = read(tmp_path / "m")
    lowest = min(result.measurements[1:], key=lambda m: m.accuracy)
    low, high = (100 * bound for bound in lowest.interval)
    assert 0 < lowest.correct < result["fgsm"].correct
    words = f"{100 * lowest.accuracy:.1f} % (95 % interval {low:.1f} to {high:.1f}) of the first 40 images"
    assert f"at most {words} under {lowest.attack} (" in text and "AutoAttack was not run" in text
    assert lowest.settings in text and "Linf 0.1" in text and "`advdistill evaluate run`" in text
    assert "held-out training images" in text and "teacher: teacher.safetensors" in text and str(place) not in text
    values = {m["name"].split(",")[0]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert values == {m.attack: pytest.approx(100 * m.accuracy) for m in result.measurements}
    assert Result.load(tmp_path / "m" / "result.json").measurements == result.measurements
    assert json.loads((tmp_path / "m" / "robustbench.json").read_text())["clean_acc"]


def test_autoattack_is_the_claim_where_it_was_run(place, tmp_path):
    result = measured(place, "clean,autoattack", n=12)
    Push(str(place / "run"), str(tmp_path / "m"))()
    text = read(tmp_path / "m")[1]
    assert "under AutoAttack standard, Linf 0.1" in text and "was not run" not in text
    assert f"**Robust accuracy: {round(100 * result['autoattack'].accuracy, 2)} %" in text


def test_a_second_push_leaves_no_older_figure(place, tmp_path):
    measured(place, "clean")
    Push(str(place / "run"), str(tmp_path / "m"))()
    (place / "run" / "result.json").unlink()
    Push(str(place / "run"), str(tmp_path / "m"))()
    assert {f.name for f in (tmp_path / "m").iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_figures_of_other_weights_are_refused(place, tmp_path, capsys):
    measured(place, "clean", weights="0" * 12)
    assert cli.main(["push", str(place / "run"), "--to", str(tmp_path / "m")]) == 2
    assert "was measured on weights 000000000000, but this model has" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_files_made_from_it_go_along_with_their_own_figures(place, tmp_path):
    (place / "run" / "result.json").unlink(missing_ok=True)
    run = str(place / "run")
    assert cli.main(["export", run, "--n", "30", "--queries", "0"]) == 0
    assert cli.main(["export", run, "--out", str(place / "run" / "plain.onnx"), "--no-evaluate"]) == 0
    (place / "run" / "changed.onnx").write_bytes(b"other")
    (place / "run" / "changed.onnx.result.json").write_text((place / "run" / "model.onnx.result.json").read_text())
    Push(run, str(tmp_path / "m"))()
    text = read(tmp_path / "m")[1]
    figure = Result.load(tmp_path / "m" / "model.onnx.result.json")["worst-case"]
    assert f"`model.onnx`: robust accuracy {100 * figure.accuracy:.1f} %" in text
    assert "`plain.onnx`: robust accuracy not measured" in text and "changed.onnx" not in text
    assert (tmp_path / "m" / "model.onnx").read_bytes() == (place / "run" / "model.onnx").read_bytes()


def test_somebodys_folder_is_left_alone(place, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match="is not empty, and `advdistill push` did not write it"):
        Push(str(place / "run"), str(tmp_path))()
    assert (tmp_path / "README.md").read_text() == "mine"


def test_hf_uploads_what_a_folder_would_hold(place, monkeypatch):
    (place / "run" / "result.json").unlink(missing_ok=True)
    seen = {}

    class HfApi:
        def create_repo(self, name, exist_ok):
            seen["repository"] = name, exist_ok

        def upload_folder(self, repo_id, folder_path, commit_message):
            seen["files"] = {file.name for file in folder_path.iterdir() if "onnx" not in file.name}
            seen["text"] = (folder_path / "README.md").read_text()

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=HfApi))
    assert Push(str(place / "run"), "hf:me/mine")() == 0
    assert seen["repository"] == ("me/mine", True)
    assert seen["files"] == {"README.md", "config.json", "model.safetensors"}
    assert 'load("hf:me/mine")' in seen["text"] and "# mine" in seen["text"]


def test_a_failed_upload_and_a_missing_extra_are_sentences(place, monkeypatch):
    class HfApi:
        def create_repo(self, name, exist_ok):
            raise RuntimeError("401 Unauthorized\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=HfApi))
    with pytest.raises(OSError, match=r"hf:me/mine could not be written \(401 Unauthorized\)"):
        Push(str(place / "run"), "hf:me/mine")()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "advdistill\[hub\]"'):
        Push(str(place / "run"), "hf:me/mine")()
    with pytest.raises(ValueError, match="hf:mine is not a repository; write hf:OWNER/NAME"):
        Push(str(place / "run"), "hf:mine")()
