import json
from dataclasses import replace

import pytest

from advdistill.report.formats import robustbench_entry
from advdistill.results.result import Measurement, Result

RESULT = Result(
    model="runs/rslad",
    data="cifar10/test",
    fingerprint="b94169546686",
    threat="Linf 8/255",
    eps=8 / 255,
    seed=3,
    measurements=(
        Measurement("clean", "", 10000, 8300, 1.0),
        Measurement("pgd-20", "PGD-20", 10000, 5400, 20.0),
        Measurement("autoattack", "AutoAttack standard, Linf 8/255", 10000, 5149, 900.0),
    ),
    date="2026-01-02T03:04:05+00:00",
    versions={"advdistill": "0.1.0", "torch": "2.13"},
)


def test_an_entry_has_what_the_result_knows_and_nothing_else():
    assert robustbench_entry(RESULT) == {
        "dataset": "cifar10",
        "eps": "8/255",
        "clean_acc": "83.00",
        "autoattack_acc": "51.49",
        "footnote": "clean_acc: 10000 images; autoattack_acc: 10000 images, AutoAttack standard, Linf 8/255; "
        "Linf 8/255, seed 3. Measured with advdistill 0.1.0.",
    }


def test_it_is_json():
    entry = robustbench_entry(RESULT)
    assert json.loads(json.dumps(entry)) == entry


def test_an_accuracy_that_was_not_measured_is_left_out():
    clean, _, auto = RESULT.measurements
    assert "autoattack_acc" not in robustbench_entry(replace(RESULT, measurements=(clean,)))
    assert "clean_acc" not in robustbench_entry(replace(RESULT, measurements=(auto,)))


def test_accuracies_have_two_decimals():
    for correct, shown in {0: "0.00", 1: "33.33", 2: "66.67", 3: "100.00"}.items():
        measured = replace(RESULT, measurements=(Measurement("clean", "", 3, correct, 1.0),))
        assert robustbench_entry(measured)["clean_acc"] == shown


@pytest.mark.parametrize("threat, eps", [("Linf 0.031", "0.031"), ("L2 0.5", "0.5")])
def test_eps_is_written_as_the_threat_is(threat, eps):
    assert robustbench_entry(replace(RESULT, threat=threat))["eps"] == eps


def test_the_footnote_tells_a_part_of_the_split_and_a_faster_search():
    settings = "AutoAttack standard, Linf 8/255, searched in bf16, classified in fp32"
    measured = (Measurement("autoattack", settings, 500, 250, 9.0),)
    footnote = robustbench_entry(replace(RESULT, measurements=measured, versions={}))["footnote"]
    assert footnote == f"autoattack_acc: 500 images, {settings}; Linf 8/255, seed 3. Measured with advdistill."


@pytest.mark.parametrize("data", ["cifar10/train", "cifar10/test (held out)", "mine"])
def test_only_a_test_split_has_an_entry(data):
    with pytest.raises(ValueError) as error:
        robustbench_entry(replace(RESULT, data=data))
    assert str(error.value) == f"RobustBench lists accuracies on test splits; this result is of {data}."


def test_a_result_without_either_accuracy_is_told_what_to_run():
    with pytest.raises(ValueError, match="this result has pgd-20. Run --suite autoattack"):
        robustbench_entry(replace(RESULT, measurements=RESULT.measurements[1:2]))
    with pytest.raises(ValueError, match="this result has no measurement"):
        robustbench_entry(replace(RESULT, measurements=()))
