"""Tests of forged and mixed-up results: figures that do not belong to the files next to them, and their messages."""

import hashlib
import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from children import advdistill
from conftest import ROOT
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_cli import SHORT
from training import short

from advdistill import Linf, Result, Run, data, evaluate, models
from advdistill._internal import secret
from advdistill.cli import main
from advdistill.cli import target as targets
from advdistill.evaluation.verdicts import Verdicts
from advdistill.evaluation.verification.findings import Again, Survivors
from advdistill.models.checkpoint import provenance
from advdistill.models.digest import digest
from advdistill.results import files as storing
from advdistill.results.consistency import same_weights
from advdistill.results.files import ResultFiles, signed
from advdistill.results.masking import CHECKS
from advdistill.results.metrics import read_metrics
from advdistill.results.result import wilson
from advdistill.results.weights import digest_of_file, weights_mismatch, weights_next_to

MEASURE = ["evaluate", "run", "--n", 100, "--batch-size", 40, "--eps", "0.1"]


@pytest.fixture(autouse=True)
def blocks_of_40(blocks):
    """Evaluate in blocks of 40 images, three for 100 images."""
    blocks(40)



@pytest.fixture(scope="module")
def made(tmp_path_factory, teacher):
    """A folder with a run, evaluated with its images saved; other.safetensors has weights of another model."""
    place = tmp_path_factory.mktemp("trust")
    (place / "run").mkdir()
    short("pgd_at").save(place / "run" / "recipe.yaml")
    models.save(models.load(teacher), place / "run" / "best.safetensors", {"chosen": "by hand"})
    models.save(models.create("convnet-8", 10, 1), place / "other.safetensors")
    done = advdistill(*MEASURE, "--suite", "clean,fgsm,pgd-20", "--keep-images", cwd=place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def place(made, tmp_path):
    return shutil.copytree(made, tmp_path / "place")


def said(*arguments, cwd, **options) -> tuple[int, str]:
    """Run a command; return the exit code, and everything printed as one line."""
    done = advdistill(*arguments, cwd=cwd, **options)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def measured(file: Path, attack: str, /, **changes) -> None:
    """Change one measurement in a result's file; accuracy and interval follow a changed count, so that they agree."""
    known = json.loads(file.read_text())
    if "correct" in changes:
        correct, n = changes["correct"], next(m["n"] for m in known["measurements"] if m["attack"] == attack)
        changes |= {"accuracy": correct / n, "interval": wilson(correct, n)}
    known["measurements"] = [m | changes if m["attack"] == attack else m for m in known["measurements"]]
    file.write_text(json.dumps(known))


def rewrite(file: Path, change=lambda tensors: None, **facts: str) -> None:
    """Change the tensors and the metadata of a safetensors file."""
    with safe_open(file, "pt") as opened:
        known = opened.metadata() or {}
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, known | facts)


def masking(n: int) -> dict[str, object]:
    """Return a verdict on gradient masking in which no check could be run."""
    findings = [{"name": name, "status": "skip", "figures": {}, "reason": "so."} for name in CHECKS]
    return {"status": "skip", "data": "digits/test", "threat": "Linf 0.1", "n": n, "seed": 0, "findings": findings}


def flags(place: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.bool() for name, tensor in load_file(place / "run" / "result.verdicts.safetensors").items()}


# ---- a result next to other weights ----------------------------------------------------------------------------------


def swapped(run: Path) -> None:
    shutil.copy(run.parent / "other.safetensors", run / "best.safetensors")


def swapped_and_nameless(run: Path) -> None:
    save_file(load_file(run.parent / "other.safetensors"), run / "best.safetensors")


def normalised_otherwise(run: Path) -> None:
    models.save(models.load(run, mean=[0.5]), run / "best.safetensors")


def another_digest(run: Path) -> None:
    edit(run / "result.json", weights="0123456789ab")


@pytest.mark.parametrize("change", [swapped, swapped_and_nameless, normalised_otherwise, another_digest])
@pytest.mark.parametrize(("command", "code", "sentence"), [
    (["compare", "run"], 2, r"result.json was measured on weights {D}, and best.safetensors beside it has {D}:"),
    (["report", "run", "--out", "table.md"], 2, "or another model. Measure again: advdistill evaluate run"),
    (["report", "run", "--out", "entry.json"], 2, "was measured on weights"),
    (["push", "run", "--to", "folder"], 2, r"was measured on weights {D}, but this model has {D}\."),
    (["verify", "run"], 2, r"The result is of weights {D}, this model has {D}\."),
    (["status", "run"], 0, "result.json was measured on other weights than best.safetensors has now"),
])  # fmt: skip
def test_a_result_beside_other_weights_is_refused_or_told_apart(place, change, command, code, sentence):
    change(place / "run")
    assert not (place / "folder").exists()
    found, text = said(*command, cwd=place)
    assert found == code and re.search(sentence.replace("{D}", r"[0-9a-f]{12}(\+[0-9a-f]{8})?"), text), text


@pytest.mark.parametrize("earlier", [False, True])
def test_a_result_of_its_own_weights_is_read_everywhere(place, earlier):
    if earlier:  # version 0.1 had digests of the weights alone
        own = Result.load(place / "run" / "result.json").weights
        assert own == digest(models.load(place / "run")) and re.fullmatch(r"[0-9a-f]{12}\+[0-9a-f]{8}", own)
        edit(place / "run" / "result.json", weights=own[:12])
    for command in (["compare", "run"], ["report", "run", "--out", "t.md"], ["push", "run", "--to", "folder"]):
        assert said(*command, cwd=place)[0] == 0
    assert said("compare", "folder", cwd=place)[0] == 0  # a model folder has its result next to model.safetensors
    shutil.copy(place / "other.safetensors", place / "folder" / "model.safetensors")
    assert "model.safetensors beside it has" in said("compare", "folder", cwd=place)[1]
    assert "other weights" not in said("status", "run", cwd=place)[1]


def test_train_measures_again_what_is_not_of_its_weights_or_not_its_own(tmp_path, teacher):
    go = ["train", "digits.pgd_at", *SHORT, "--suite", "clean", "--out", "run"]
    assert said(*go, cwd=tmp_path)[0] == 0
    run, file = Run(tmp_path / "run"), tmp_path / "run" / "result.json"
    honest, text = file.read_text(), said(*go, cwd=tmp_path)[1]
    assert file.read_text() == honest and "written to" not in text  # shown, not measured again

    models.save(models.load(teacher), run.best, provenance(run.best))
    code, text = said(*go, cwd=tmp_path)
    assert code == 0 and "was measured on weights" in text
    assert Result.load(file).weights == digest(models.load(teacher))
    assert len(list(run.folder.glob("result-*.json"))) == 1  # the earlier one, renamed

    measured(file, "clean", correct=600)
    code, text = said(*go, cwd=tmp_path)
    assert "also has clean, not signed with this user's key" in text and "100.0" not in text
    assert Result.load(file)["clean"].correct < 600


def test_the_digest_read_from_a_file_is_the_networks(place):
    for name in ("run/best.safetensors", "other.safetensors"):
        assert digest_of_file(place / name) == digest(models.load(place / name)) is not None
    rewrite(place / "other.safetensors", order='["a"]')
    assert digest_of_file(place / "other.safetensors") is None
    assert weights_next_to(place / "run" / "result-2026.json") is None


def test_a_digest_names_the_normalisation(place):
    plain = digest(models.load(place / "other.safetensors"))
    for mean, std, values in (
        (None, None, []), ([0.0], [1.0], []), ([0.5], None, [0.5, 1]), (None, [0.3], [0, 0.3]),
        ([0.5], [0.3], [0.5, 0.3]),
    ):  # fmt: skip
        network, file = models.load(place / "other.safetensors", mean=mean, std=std), place / "made.safetensors"
        models.save(network, file)
        named = hashlib.sha256(np.array(values, "<f4").tobytes()).hexdigest()[:8]
        assert digest_of_file(file) == digest(network) == digest(torch.compile(network)) == f"{plain[:12]}+{named}"


@pytest.mark.parametrize(("one", "other", "same"), [
    ("a+1", "a+1", True), ("a+1", "a+2", False), ("a+1", "a", True), ("a", "a+2", True), ("a+1", "b+1", False),
    ("a", "b", False), (None, None, True), ("a+1", None, False),
])  # fmt: skip
def test_a_digest_of_an_earlier_version_says_nothing_of_the_normalisation(tmp_path, one, other, same):
    assert same_weights(one, other) == same
    flags, file = {"clean": np.ones(2, np.uint8)}, tmp_path / "v.safetensors"
    save_file({"clean": torch.ones(2, dtype=torch.uint8)}, file, signed(flags, {"weights": str(one)}))
    with nullcontext() if same else pytest.raises(ValueError, match=r"of another kind \(weights differ\)"):
        assert Verdicts(2, {"weights": str(other)}, file).knows("clean", 0, 2)


def test_a_result_named_after_its_checkpoint_belongs_to_it(place):
    shutil.copy(place / "run" / "result.json", place / "other.json")
    result = Result.load(place / "other.json")
    assert "other.safetensors beside it has" in weights_mismatch(place / "other.json", result)
    assert "other.safetensors beside it has" in said("compare", "other.json", cwd=place)[1]


def test_masking_of_another_network_is_refused_and_left_out_of_a_card(place):
    verdict = masking(9)
    file = place / "run" / "result.masking.json"
    file.write_text(json.dumps(verdict | {"weights": "0123456789ab"}))
    code, text = said("push", "run", "--to", "folder", cwd=place)
    assert code == 0 and "was measured on other weights (0123456789ab) and is left out of the card" in text
    assert "Gradient masking: not tested" in (place / "folder" / "README.md").read_text()
    code, text = said("report", "run", "--as-is", "--out", "page.html", cwd=place)
    assert code == 2 and "has weights 0123456789ab, but its result has" in text


def count(**changes):
    return lambda run: measured(run / "result.json", "pgd-20", **changes)


def twice(run: Path) -> None:
    values = json.loads((run / "result.json").read_text())
    edit(run / "result.json", measurements=[*values["measurements"], values["measurements"][-1]])


def masking_on(n: int):
    return lambda run: (run / "result.masking.json").write_text(json.dumps(masking(n)))


def epoch(**figures):
    return lambda run: (run / "metrics.jsonl").write_text(json.dumps({"step": 3, "epoch": 1} | figures) + "\n")


def raw(**changes):
    """Change fields of one measurement by hand and leave its other fields as they are."""

    def change(run: Path) -> None:
        known = json.loads((run / "result.json").read_text())
        known["measurements"][-1] |= changes
        (run / "result.json").write_text(json.dumps(known))

    return change


def another_eps(eps: float):
    return lambda run: edit(run / "result.json", eps=eps)


def without_a_threat(run: Path) -> None:
    edit(run / "result.json", threat="Linf")


CONTRADICTIONS = [
    (raw(correct=99), r"pgd-20: its accuracy is 0\.\d+, and 99 of 100 images right give 0.99\. Delete it, or evaluate"),
    (raw(accuracy=0.99), r"pgd-20: its accuracy is 0.99, and \d+ of 100 images right give"),
    (raw(accuracy="high"), "pgd-20: its accuracy is high, and"),
    (raw(accuracy=None), "pgd-20: its accuracy is None, and"),
    (raw(interval=[0.9, 1.0]), r"pgd-20: its interval is \[0.9, 1.0\], and \d+ of 100 images right give \["),
    (raw(interval=[0.9]), r"pgd-20: its interval is \[0.9\], and"),
    (raw(accuracy=float("nan")), "pgd-20: its accuracy is nan, and"),
    (raw(seconds=-1.0), "pgd-20: -1.0 seconds is impossible"),
    (raw(seconds=float("inf")), "pgd-20: inf seconds is impossible"),
    (another_eps(0.2), "its threat model is Linf 0.1, and its eps 0.2"),
    (another_eps(float("nan")), "its threat model is Linf 0.1, and its eps nan"),
    (without_a_threat, "its threat model must be such as 'Linf 8/255', got 'Linf'"),
]


@pytest.mark.parametrize(("forge", "sentence"), CONTRADICTIONS)
def test_a_result_that_contradicts_itself_is_refused_by_every_reader(place, forge, sentence, monkeypatch, capsys):
    run = place / "run"
    forge(run)
    for verdicts in (True, False):  # with the verdicts next to the result, and without
        if not verdicts:
            (run / "result.verdicts.safetensors").unlink()
        with pytest.raises(ValueError, match=f"result.json is not a result of advdistill: {sentence}"):
            Result.load(run / "result.json")
    monkeypatch.chdir(place)
    before = (run / "result.json").read_bytes()
    for command in (
        ["compare", "run"], ["report", "run", "--out", "table.md"], ["report", "run", "--as-is", "--out", "page.html"],
        PUSH, ["verify", "run"], ["evaluate", "run", "--suite", "clean", "--n", "20"],
        ["train", "run/recipe.yaml", "--out", "run"],
    ):  # fmt: skip
        assert main(command) == 2, command
        assert re.search(sentence, " ".join(capsys.readouterr().err.split())), command
    assert main(["status", "run"]) == 0
    assert re.search(f"result.json cannot be read: .*{sentence}", " ".join(capsys.readouterr().out.split()))
    assert (run / "result.json").read_bytes() == before and not (place / "folder").exists()


def without_the_checks(*names: str):
    def change(run: Path) -> None:
        known = masking(9)
        known["findings"] = [one for one in known["findings"] if one["name"] not in names]
        (run / "result.masking.json").write_text(json.dumps(known))

    return change


def one_check_twice(run: Path) -> None:
    known = masking(9)
    (run / "result.masking.json").write_text(json.dumps(known | {"findings": [*known["findings"], *known["findings"]]}))


def a_good_word_for_bad_findings(run: Path) -> None:
    known = masking(9)
    known["findings"][3]["status"] = "fail"
    (run / "result.masking.json").write_text(json.dumps(known))


@pytest.mark.parametrize(("forge", "sentence"), [
    (without_the_checks("longer", "black_box"), r"\(it lacks the findings of longer, black_box, and every check"),
    (without_the_checks(*CHECKS), r"\(it lacks the findings of train_mode, softmax, .*transfer, and"),
    (one_check_twice, r"\(it has two findings of one check\)"),
    (a_good_word_for_bad_findings, r"\(its status is 'skip', but its findings give 'fail'\)"),
])  # fmt: skip
def test_a_masking_verdict_lacks_no_check(place, forge, sentence, monkeypatch, capsys):
    forge(place / "run")
    monkeypatch.chdir(place)
    for command in (PUSH, REPORT):
        assert main(command) == 2
        assert re.search(f"not a verdict on gradient masking {sentence}", " ".join(capsys.readouterr().err.split()))


def test_a_result_without_verdicts_is_a_claim_and_said_to_be(place, monkeypatch, capsys):
    """Without verdicts, consistently edited figures cannot be detected, so the missing verdicts are reported."""
    run = place / "run"
    measured(run / "result.json", "pgd-20", correct=99)
    (run / "result.verdicts.safetensors").unlink()
    monkeypatch.chdir(place)
    said = "the verdicts on each image are missing next to this result, so nothing here can check its figures"
    assert main(["compare", "run"]) == 0 and f"run: {said}." in " ".join(capsys.readouterr().out.split())
    assert main(REPORT) == 0 and f"run: {said}." in (place / "page.html").read_text()
    assert main(PUSH) == 0 and f"run/result.json: {said}; the card says so" in capsys.readouterr().err
    assert f"**Unverified**: {said}." in (place / "folder" / "README.md").read_text()
    assert main(["verify", "run"]) == 2 and "result.verdicts.safetensors is missing" in capsys.readouterr().err


def test_verdicts_that_lack_an_attack_are_said_to(place, monkeypatch, capsys):
    rewrite(place / "run" / "result.verdicts.safetensors", lambda tensors: tensors.pop("pgd-20"))
    monkeypatch.chdir(place)
    assert main(["compare", "run"]) == 0
    assert "run: the verdicts of pgd-20 on each image are missing" in " ".join(capsys.readouterr().out.split())


def test_more_right_under_attack_than_without_is_said_to_be_impossible(place, monkeypatch, capsys):
    (place / "run" / "result.verdicts.safetensors").unlink()
    measured(place / "run" / "result.json", "clean", correct=10)
    monkeypatch.chdir(place)
    assert main(["compare", "run"]) == 0
    said = "run, fgsm, pgd-20: robust accuracy is higher than the clean accuracy and therefore impossible: was the"
    assert said in " ".join(capsys.readouterr().out.split())


PUSH, REPORT = ["push", "run", "--to", "folder"], ["report", "run", "--as-is", "--out", "page.html"]


@pytest.mark.parametrize(("forge", "command", "sentence"), [
    (count(correct=80), PUSH, "under pgd-20, [0-9]+ right and [0-9]+ broken; its result has 80 of 100 images right"),
    (twice, PUSH, "it has two measurements of one attack"),
    (twice, ["verify", "run"], "it has two measurements of one attack"),
    (count(outside=-3), ["compare", "run"], "pgd-20: outside for -3 of 100 images is impossible"),
    (count(no_gradient=101), ["compare", "run"], "pgd-20: no_gradient for 101 of 100 images is impossible"),
    (masking_on(-5), REPORT, r"not a verdict on gradient masking \(-5 images\)"),
    (masking_on(0), PUSH, r"not a verdict on gradient masking \(0 images\)"),
    (epoch(clean=5.0), REPORT, r"metrics.jsonl, line 1, must be .*; accuracies lie in \[0, 1\]"),
    (epoch(robust=-0.1), REPORT, r"metrics.jsonl, line 1, must be .*; accuracies lie in \[0, 1\]"),
])  # fmt: skip
def test_figures_that_cannot_be_are_refused(place, forge, command, sentence):
    forge(place / "run")
    code, text = said(*command, cwd=place)
    assert code == 2 and re.search(sentence, text), text
    assert not (place / "folder").exists() and not (place / "page.html").exists()


def test_a_training_skips_epochs_with_figures_that_cannot_be(place):
    epoch(clean=5.0)(place / "run")
    assert read_metrics(place / "run" / "metrics.jsonl") == [] and said("status", "run", cwd=place)[0] == 0


def test_the_header_is_of_the_weights_that_were_read(tmp_path, monkeypatch):
    file = tmp_path / "m.safetensors"
    nets, loads, real = [models.create("convnet-2", 10, 1) for _ in range(2)], [], models.load
    models.save(nets[0], file, {"chosen": "epoch 1"})

    def replaced_meanwhile(reference):
        loads.append(real(reference))
        if len(loads) == 1:
            models.save(nets[1], file, {"chosen": "epoch 2"})
        return loads[-1]

    monkeypatch.setattr(targets.models, "load", replaced_meanwhile)
    network, header = targets.load_with_header(str(file))
    assert digest(network) == digest(nets[1]) and header == {"chosen": "epoch 2"} and len(loads) == 2


# ---- verdicts that came with a folder --------------------------------------------------------------------------------


def all_right(place: Path) -> Path:
    """Write an unfinished evaluation with the same settings in which no image is broken; return its file."""
    split, run = data.load("digits", "test"), place / "run"
    setting = {"weights": digest(models.load(run)), "fingerprint": split.fingerprint(), "images": "100",
               "threat": "Linf 0.1", "seed": "0", "block": "40", "searched": "None", "surrogate": "None"}
    verdicts = {name: torch.ones(100, dtype=torch.uint8) for name in ("clean", "pgd-20")}
    file = run / "result.unfinished.safetensors"
    save_file(verdicts | {f"{name}.seconds": torch.ones(100) for name in verdicts}, file, setting)
    return file


def with_a_tag_of_another_file(place: Path) -> None:
    with safe_open(place / "run" / "result.verdicts.safetensors", "pt") as opened:
        tag = opened.metadata()["tag"]
    rewrite(all_right(place), tag=tag)


def of_another_user(place: Path) -> None:
    file = all_right(place)
    (place / "other.key").write_bytes(b"x" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVDISTILL_KEY", str(place / "other.key"))
        known = {name: tensor.numpy() for name, tensor in load_file(file).items()}
        with safe_open(file, "pt") as opened:
            facts = storing.signed(known, opened.metadata())
    rewrite(file, **facts)


def of_another_threat(place: Path) -> None:
    """The verdicts and the tag are this user's own; the threat model next to them was edited."""
    file = all_right(place)
    known = {name: tensor.numpy() for name, tensor in load_file(file).items()}
    with safe_open(file, "pt") as opened:
        facts = opened.metadata()
    rewrite(file, tag=storing.signed(known, facts | {"threat": "Linf 0.001"})["tag"])


def of_another_process(place: Path) -> None:
    file = all_right(place)
    file.rename(file.with_name(f"{file.name}.1"))


@pytest.mark.parametrize(
    "forge", [all_right, with_a_tag_of_another_file, of_another_user, of_another_threat, of_another_process]
)
def test_verdicts_of_others_are_set_aside(place, forge):
    forge(place)
    code, text = said(*MEASURE, "--suite", "clean,pgd-20", cwd=place)
    assert code == 0 and "was not written with this user's key, so its verdicts are not used" in text
    assert "100.0" not in text and list((place / "run").glob("set-aside.result.unfinished*"))
    assert Result.load(place / "run" / "result.json")["pgd-20"].correct < 100


def test_images_of_others_do_not_enter_a_result(place):
    folder = place / "run" / "result.unfinished.adv"
    shutil.copytree(place / "run" / "result.adv", folder)
    (folder / "pgd-20.000000.safetensors").rename(folder / "pgd-20.000001.safetensors")
    assert said(*MEASURE, "--suite", "pgd-20", "--keep-images", cwd=place)[0] == 0
    names = {file.name for file in (place / "run" / "result.adv").glob("pgd-20.*")}
    assert names == {f"pgd-20.{start:06d}.safetensors" for start in (0, 40, 80)} and not folder.exists()


def test_a_figure_that_came_with_a_run_is_not_shown_as_measured(place):
    file = place / "run" / "result.json"
    known = json.loads(file.read_text())
    known["measurements"].append(known["measurements"][-1] | {"attack": "cw-30"})
    file.write_text(json.dumps(known))
    measured(file, "cw-30", correct=100)
    code, text = said(*MEASURE, "--suite", "clean", cwd=place)
    assert code == 0 and "also has cw-30, not signed with this user's key (~/.cache" in text
    assert "cw-30" in str(Result.load(file)) and "100.0" not in text
    again = said(*MEASURE, "--suite", "clean", cwd=place)[1]  # merging does not sign the other figure
    assert "also has cw-30, not signed with this user's key" in again and "fgsm" in again


def test_counts_that_are_not_the_verdicts_are_not_merged(place):
    measured(place / "run" / "result.json", "pgd-20", correct=99)
    code, text = said(*MEASURE, "--suite", "fgsm", cwd=place)
    assert code == 0 and len(list((place / "run").glob("result-*.json"))) == 1 and "99.0" not in text



@pytest.mark.parametrize("moved", [False, True])
def test_ones_own_verdicts_go_on_also_in_a_moved_folder(tmp_path, moved):
    (tmp_path / "a").mkdir()
    first = Verdicts(4, {"s": "1"}, tmp_path / "a" / "v")
    first.begin("pgd", {})
    first.put("pgd", 0, torch.tensor([True, False]), {}, 1.0)
    folder = (tmp_path / "a").rename(tmp_path / "b") if moved else tmp_path / "a"
    lines: list[str] = []
    again = Verdicts(4, {"s": "1"}, folder / "v", report=lines.append)
    assert again.knows("pgd", 0, 2) and not again.knows("pgd", 2, 4) and lines == []


def test_where_no_key_can_be_written_an_interruption_starts_afresh_and_says_so(place, monkeypatch):
    all_right(place)
    code, text = said(*MEASURE, "--suite", "clean", cwd=place, env={"ADVDISTILL_KEY": "/dev/null/key"})
    assert code == 0 and "No key can be written" in text and "export ADVDISTILL_KEY=FILE" in text
    monkeypatch.setenv("ADVDISTILL_KEY", str(place / "short.key"))
    (place / "short.key").write_bytes(b"123")
    with pytest.raises(ValueError, match="is not a key of 32 bytes, it has 3. Delete it; a new one is made"):
        secret.tag([b"x"])


def test_the_key_is_made_once_and_for_the_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_KEY", str(tmp_path / "cache" / "key"))
    first = secret.tag([b"a", b"bc"])
    assert secret.genuine(first, [b"a", b"bc"]) and not secret.genuine(first, [b"ab", b"c"])
    assert not secret.genuine(None, [b"a", b"bc"]) and secret.key_problem() is None
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["key"]
    assert (tmp_path / "cache" / "key").stat().st_mode & 0o077 == 0


# ---- results that `verify` must check --------------------------------------------------------------------------------


def claims(run: Path, eps: str) -> None:
    edit(run / "result.json", threat=f"Linf {eps}", eps=float(eps))


def larger_eps(run: Path) -> None:
    claims(run, "0.2")


def larger_eps_in_every_file(run: Path) -> None:
    claims(run, "0.4")
    measured(run / "result.json", "fgsm", settings="PGD-1, Linf 0.4, step 0.4, none start, cross_entropy")
    measured(run / "result.json", "pgd-20", settings="PGD-20, Linf 0.4, step 0.1, uniform start, cross_entropy")
    for file in (run / "result.verdicts.safetensors", *(run / "result.adv").iterdir()):
        rewrite(file, threat="Linf 0.4")


def renamed(to: str, settings: str | None = None):
    def change(run: Path) -> None:
        measured(run / "result.json", "pgd-20", attack=to, **{} if settings is None else {"settings": settings})
        rewrite(run / "result.verdicts.safetensors", lambda tensors: tensors.update({to: tensors["pgd-20"].clone()}))
        for file in (run / "result.adv").glob("pgd-20.*"):
            file.rename(file.with_name(file.name.replace("pgd-20", to)))

    return change


def fgsm_as_pgd_20(run: Path) -> None:
    result = Result.load(run / "result.json")
    measured(run / "result.json", "pgd-20", correct=result["fgsm"].correct)
    rewrite(run / "result.verdicts.safetensors", lambda tensors: tensors.update({"pgd-20": tensors["fgsm"].clone()}))
    for file in (run / "result.adv").glob("pgd-20.*"):
        shutil.copy(file.with_name(file.name.replace("pgd-20", "fgsm")), file)


def everything_robust(run: Path) -> None:
    measured(run / "result.json", "pgd-20", correct=100)
    rewrite(run / "result.verdicts.safetensors", lambda tensors: tensors["pgd-20"].fill_(1))
    shutil.rmtree(run / "result.adv")


def robust_where_clean_is_wrong(run: Path) -> None:
    def swap(tensors):
        wrong = (tensors["clean"] == 0).nonzero()[0]
        right = (tensors["pgd-20"] == 1).nonzero()[0]
        tensors["pgd-20"][wrong], tensors["pgd-20"][right] = 1, 0

    rewrite(run / "result.verdicts.safetensors", swap)


def another_seed(run: Path) -> None:
    edit(run / "result.json", seed=7)


def another_step(run: Path) -> None:
    measured(run / "result.json", "pgd-20", settings="PGD-20, Linf 0.1, step 0.05, uniform start, cross_entropy")


def verdicts_of_other_weights(run: Path) -> None:
    rewrite(run / "result.verdicts.safetensors", weights="0123456789ab")


def verdicts_of_other_data(run: Path) -> None:
    rewrite(run / "result.verdicts.safetensors", fingerprint="0123456789ab")


def a_break_made_up(run: Path) -> None:
    def break_all(tensors):
        tensors["pgd-20"].zero_()

    measured(run / "result.json", "pgd-20", correct=0)
    rewrite(run / "result.verdicts.safetensors", break_all)


@pytest.mark.parametrize(("forge", "sentence"), [
    (larger_eps, "WRONG, its verdicts are of threat Linf 0.1, the result of threat Linf 0.2"),
    (larger_eps, "WRONG, pgd-20: its settings are 'PGD-20, Linf 0.1, .*those of pgd-20 are 'PGD-20, Linf 0.2"),
    (larger_eps_in_every_file, r"pgd-20: WRONG, run again on 60 images"),
    (larger_eps_in_every_file, "at most 25% of the survivors: REFUTED"),
    (renamed("autoattack"), "WRONG, autoattack: its settings are 'PGD-20"),
    (renamed("autoattack", "AutoAttack standard, Linf 0.1"), "do not say which part of AutoAttack broke each image"),
    (renamed("AutoAttack", ""), "WRONG, AutoAttack is not the name of an attack; autoattack is"),
    (renamed("strong"), "WRONG, strong: its settings 'PGD-20.*' are those of pgd-20"),
    (fgsm_as_pgd_20, r"pgd-20: WRONG, run again on 60 images.* robust ones were broken"),
    (everything_robust, "WRONG, pgd-20: 100 images are robust, and only 9\\d are classified correctly"),
    (robust_where_clean_is_wrong, "WRONG, images said to be robust, which are misclassified without an attack: 1"),
    (another_seed, "WRONG, its verdicts are of seed 0, the result of seed 7"),
    (another_step, "WRONG, pgd-20: its settings are 'PGD-20, Linf 0.1, step 0.05"),
    (verdicts_of_other_weights, "WRONG, its verdicts are of weights 0123456789ab"),
    (verdicts_of_other_data, "WRONG, its verdicts are of fingerprint 0123456789ab"),
    (a_break_made_up, r"pgd-20: WRONG, run again on .*broken ones were not"),
])  # fmt: skip
def test_verify_finds(place, forge, sentence):
    forge(place / "run")
    sample = 6 if "autoattack" in sentence.lower() else 60  # AutoAttack takes half a second an image
    code, text = said("verify", "run", "--sample", sample, "--draw", 1, cwd=place)
    assert code == 1 and re.search(sentence, text), text


def test_verify_passes_an_honest_result_and_says_what_it_drew(place):
    code, text = said("verify", "run", "--sample", 30, cwd=place)
    assert code == 0 and re.search(r"drawn with --draw \d+", text), text
    assert re.search(r"pgd-20: run again on \d+ images, \d+ verdicts are the same", text)
    assert "Hypothesis: a stronger attack breaks at most 25% of the survivors: not refuted." in text


def test_images_of_an_earlier_result_condemn_nobody(place):
    for file in (place / "run" / "result.adv").glob("fgsm.*"):
        rewrite(file, lambda tensors: tensors["x_adv"].zero_(), seed="3")
    code, text = said("verify", "run", "--sample", 0, cwd=place)
    assert code == 0 and "fgsm: 1 files in result.adv are of another evaluation and were left out" in text


def test_the_hypotheses_are_stated_and_bounded():
    survivors = Survivors("pgd-20", "PGD-100", 100, 51, 51, 51)
    assert not survivors.supports(0.25) and Survivors("a", "b", 100, 51, 51, 12).supports(0.25)
    assert Survivors("a", "b", 1000, 500, 64, 20).supports(0.25) and not Survivors("a", "b", 9, 9, 9, 9).supports(0.99)
    assert Again(32, 1, 32, 0).ok and Again(0, 0, 0, 0).ok and not Again(32, 8, 32, 0).ok and not Again(2, 0, 30, 9).ok


# ---- two evaluations at once, and SIGKILL between two files ----------------------------------------------------------


def test_a_second_evaluation_of_the_same_result_is_refused(place):
    with FileLock(place / "run" / ".result.lock"):
        code, text = said(*MEASURE, "--suite", "clean", cwd=place)
    assert code == 2 and "Another process is writing run/result.json; wait, or give another --out." in text


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(7))
def test_no_kept_image_is_lost_wherever_it_is_killed(place, after, monkeypatch):
    files, split = ResultFiles(place / "x.json"), data.load("digits", "test")
    network, settings = models.load(place / "run"), {"n": 100, "batch_size": 40, "keep_images": files.unfinished_images}

    def measure(**more):
        return evaluate(network, split, Linf(0.1), "fgsm,pgd-20", keep=files.unfinished, **settings | more)

    files.store(measure())
    whole = {file.name for file in files.images.iterdir()}
    with files.writing():  # again, and killed while the files are moved
        again, real, calls = measure(), storing.write_atomic, []

        def dying(*arguments, **options):
            if len(calls) == after:
                raise Killed
            calls.append(real(*arguments, **options))

        monkeypatch.setattr(storing, "write_atomic", dying)
        with pytest.raises(Killed):
            files.store(again)
        monkeypatch.setattr(storing, "write_atomic", real)
    with files.writing():
        files.store(measure())
    assert {file.name for file in files.images.iterdir()} == whole and len(whole) == 6
    code, text = said("verify", "x.json", "run", "--data", "digits", "--sample", 0, cwd=place)
    assert code == 0 and "Every counted verdict is confirmed." in text
    assert not list(place.glob("x.unfinished*")) and not list(place.glob(".x*"))


def test_images_are_made_where_an_interrupted_evaluation_did_not_save_them(place, blocks):
    split, network = data.load("digits", "test"), models.load(place / "run")
    blocks(20)
    settings = {"n": 60, "batch_size": 20, "keep": place / "v.safetensors"}
    first = evaluate(network, split, Linf(0.1), "fgsm", **settings)
    second = evaluate(network, split, Linf(0.1), "fgsm", keep_images=place / "v.adv", **settings)
    assert len(list((place / "v.adv").iterdir())) == 3 and first["fgsm"].correct == second["fgsm"].correct


def test_images_of_other_verdicts_do_not_stay_beside_new_ones(place):
    def forget(tensors):
        tensors["fgsm"][0] = 1 - tensors["fgsm"][0]

    verdicts = place / "run" / "result.verdicts.safetensors"
    assert said(*MEASURE, "--suite", "fgsm", cwd=place)[0] == 0
    assert len(list((place / "run" / "result.adv").glob("fgsm.*"))) == 1  # the same verdicts: their images stay
    rewrite(verdicts, forget)
    assert said(*MEASURE, "--suite", "fgsm", cwd=place)[0] == 0
    assert not list((place / "run" / "result.adv").glob("fgsm.*"))
    assert len(list((place / "run" / "result.adv").glob("pgd-20.*"))) == 1


def test_hidden_temporary_files_do_not_stay(place):
    run = place / "run"
    (run / "result.unfinished.adv").mkdir()
    left = [run / ".result.json.ab12cd34", run / ".result.unfinished.safetensors.ab12cd34",
            run / ".result.verdicts.safetensors.ab12cd34", run / "result.adv" / ".fgsm.000000.safetensors.ab12cd34",
            run / "result.unfinished.adv" / ".fgsm.000000.safetensors.ab12cd34"]  # fmt: skip
    for file in left:
        file.write_bytes(b"half")
    assert said(*MEASURE, "--suite", "clean", cwd=place)[0] == 0
    assert not [file for file in left if file.exists()] and not list(run.glob(".result*"))


def test_the_page_says_every_kind():
    page = (ROOT / "docs" / "trusting_a_run.md").read_text()
    for sentence in ("was measured on weights", "was not written with this user's key", "Another process is writing",
                     "not signed with this user's key", "do not say which part of AutoAttack", "REFUTED"):
        assert sentence in page
