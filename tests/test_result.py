import io
import json
import sys
from dataclasses import replace
from subprocess import run

import pytest
from rich.console import Console

from advdistill.report.compare import compare, mismatches, table
from advdistill.results.result import Measurement, Result, wilson
from advdistill.results.selection import Selection

RESULT = Result(
    model="student",
    data="digits/test",
    fingerprint="b94169546686",
    threat="Linf 8/255",
    eps=8 / 255,
    seed=0,
    measurements=(Measurement("clean", "", 600, 480, 0.1), Measurement("pgd-20", "PGD-20", 600, 240, 1.5)),
    date="2026-01-02T03:04:05+00:00",
    versions={"torch": "2.13"},
    chosen=Selection(by="robust", images=118, among=3, epoch=34, epochs=40),
)


def text(renderable, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "successes, low, high", [(0, 0.0, 0.27753), (5, 0.23659, 0.76341), (10, 0.72247, 1.0)]
)
def test_wilson_gives_the_published_values(successes, low, high):
    assert wilson(successes, 10) == pytest.approx((low, high), abs=1e-5)


def test_a_result_comes_back_from_its_file(tmp_path):
    RESULT.save(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == RESULT


def test_a_file_of_an_earlier_version_may_lack_what_has_a_default(tmp_path):
    RESULT.save(tmp_path / "result.json")
    values = json.loads((tmp_path / "result.json").read_text())
    for name in ("weights", "chosen", "command"):
        del values[name]
    (tmp_path / "result.json").write_text(json.dumps(values))
    assert Result.load(tmp_path / "result.json") == replace(RESULT, chosen=None)


def test_the_file_holds_fractions_and_intervals_beside_the_counts(tmp_path):
    RESULT.save(tmp_path / "result.json")
    clean = json.loads((tmp_path / "result.json").read_text())["measurements"][0]
    assert (clean["correct"], clean["n"], clean["accuracy"]) == (480, 600, 0.8)
    assert clean["interval"] == pytest.approx(wilson(480, 600), abs=1e-6)


def test_a_measurement_is_found_by_its_attack():
    assert RESULT["pgd-20"].accuracy == 0.4


def _without(field):
    return lambda values: json.dumps({name: value for name, value in values.items() if name != field})


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda values: json.dumps(values)[:100], "truncated or not JSON. Run the evaluation again"),
        (lambda values: "", "truncated or not JSON"),
        (lambda values: "[1, 2]", "is not a result of advdistill: list is not"),
        (_without("fingerprint"), 'is not a result of advdistill: .*missing .*"fingerprint"'),
        (_without("measurements"), 'is not a result of advdistill: .*missing .*"measurements"'),
        (lambda values: json.dumps(values | {"measurements": 5}), "is not a result of advdistill: int is not a list"),
        (lambda values: json.dumps(values | {"seed": "zero"}), "is not a result of advdistill: .*'seed'"),
        (lambda values: json.dumps(values | {"measurements": [{"attack": "clean"}]}), "missing required key"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, message):
    path = tmp_path / "result.json"
    RESULT.save(path)
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=f"result.json .*{message}"):
        Result.load(path)


def test_the_table_has_a_row_for_each_model_and_a_column_for_each_attack():
    teacher = replace(RESULT, model="teacher", measurements=RESULT.measurements[:1])
    lines = [line.strip() for line in text(table([RESULT, teacher])).splitlines()]
    assert lines[0].split() == ["model", "clean", "pgd-20"]
    assert lines[2].split() == ["student", "80.0", "(76.6-83.0)", "40.0", "(36.2-44.0)"]
    assert lines[3].split() == ["teacher", "80.0", "(76.6-83.0)", "-"]
    caption = "Accuracy in % (95 % interval). digits/test (b94169546686), n = 600, Linf 8/255, seed 0."
    assert " ".join(lines[4:]).split() == caption.split()


def test_many_attacks_fit_80_columns_with_the_intervals_below():
    names = ("clean", "fgsm", "pgd-20", "pgd-20-trades", "cw-30", "autoattack")
    wide = replace(RESULT, model="runs/adaad", measurements=tuple(Measurement(a, "", 600, 300, 1.0) for a in names))
    lines = text(table([wide])).splitlines()
    assert any(line.split()[-6:] == ["50.0"] * 6 for line in lines)
    assert any(line.split()[-6:] == ["46.0-54.0"] * 6 for line in lines)


def test_compare_reads_folders_and_files_and_names_rows_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    RESULT.save("a/result.json")
    RESULT.save("b.json")
    shown = text(compare(["a", "b.json"]))
    assert [line.split()[0] for line in shown.splitlines()[2:4]] == ["a", "b.json"]
    assert "not comparable" not in shown


def test_compare_warns_of_figures_that_do_not_compare(tmp_path):
    other = replace(
        RESULT, fingerprint="0" * 12, threat="Linf 4/255", eps=4 / 255,
        measurements=(Measurement("clean", "", 500, 400, 0.1),),
    )  # fmt: skip
    assert mismatches([RESULT, other]) == [
        "These results are not comparable: the number of images differs (600, 500).",
        "These results are not comparable: the data differs (digits/test (b94169546686), digits/test (000000000000)).",
        "These results are not comparable: the threat model differs (Linf 8/255, Linf 4/255).",
    ]
    for name, result in {"a": RESULT, "b": other}.items():
        result.save(tmp_path / f"{name}.json")
    assert text(compare(sorted(tmp_path.glob("*.json"))), 200).count("not comparable") == 3


def test_compare_names_a_folder_without_a_result(tmp_path):
    with pytest.raises(FileNotFoundError, match="result.json does not exist. Evaluate first: advdistill evaluate"):
        compare([tmp_path])
    for missing, model in ((tmp_path / "run", tmp_path / "run"), (tmp_path / "run" / "result.json", tmp_path / "run")):
        with pytest.raises(FileNotFoundError, match=f"does not exist. Evaluate first: advdistill evaluate {model}$"):
            compare([missing])


def test_reports_never_import_torch():
    code = "import sys, advdistill.report.compare; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code]).returncode == 0


def test_results_measured_alike_are_joined():
    new = (Measurement("fgsm", "", 600, 300, 1.0), Measurement("clean", "", 600, 481, 1.0))
    more = replace(RESULT, measurements=new)
    assert [(m.attack, m.correct) for m in more.joined(RESULT).measurements] == [
        ("clean", 481), ("pgd-20", 240), ("fgsm", 300),
    ]  # fmt: skip
    other = Selection(text="another epoch")
    for change in ({"seed": 7}, {"threat": "Linf 4/255"}, {"chosen": other}, {"fingerprint": "0" * 12}):
        assert replace(more, **change).joined(RESULT) is None
    fewer = replace(RESULT, measurements=(Measurement("fgsm", "", 100, 50, 1.0),))
    assert fewer.joined(RESULT) is None


def test_how_a_checkpoint_was_chosen_comes_back_from_its_header_and_says_where_it_flatters():
    chosen = Selection(by="mean", images=5000, fingerprint="b94169546686", among=20, epoch=19, epochs=20)
    header = chosen.to_header()
    assert Selection.from_header(header, "0" * 12) == Selection.from_header(header) == chosen
    assert header["chosen"] == str(chosen) and header["chosen_on"] == "b94169546686"  # for earlier versions
    flattered = Selection.from_header(header, "b94169546686")
    assert flattered == replace(chosen, on_test=True)
    assert str(flattered) == f"chosen on the test split itself, so every figure is too high: {chosen}"
    assert str(chosen) == (
        "best mean of clean and PGD-10 accuracy on 5000 held-out training images among 20 checkpoints, epoch 19 of 20"
    )


def test_a_sentence_of_an_earlier_version_is_carried_as_text(tmp_path):
    assert Selection.from_header({"chosen": "by hand"}) == Selection(text="by hand")
    assert Selection.from_header({"method": "ard"}) is None
    for damaged in ("{", "[]", '{"epoch": "two"}', "5"):
        with pytest.raises(ValueError, match="A checkpoint's 'selection' is damaged"):
            Selection.from_header({"selection": damaged})
    RESULT.save(tmp_path / "result.json")
    values = json.loads((tmp_path / "result.json").read_text()) | {"chosen": "by hand"}
    (tmp_path / "result.json").write_text(json.dumps(values))
    assert Result.load(tmp_path / "result.json") == replace(RESULT, chosen=Selection(text="by hand"))
