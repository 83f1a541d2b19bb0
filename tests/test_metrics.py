"""Tests of the reader of `metrics.jsonl`: damage that a run skips and a report rejects."""

import json

import pytest

from advdistill.results.metrics import read_metrics

WHOLE = {"step": 3, "epoch": 1, "loss/adv": 1.5}


def read(tmp_path, *lines, **how):
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(lines))
    return read_metrics(file, **how)


def test_no_file_has_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == read_metrics(tmp_path / "metrics.jsonl", for_report=True) == []


@pytest.mark.parametrize("for_report", [False, True])
def test_a_last_line_that_is_cut_off_is_skipped(tmp_path, for_report):
    assert read(tmp_path, json.dumps(WHOLE), '{"step": 6, "ep', for_report=for_report) == [WHOLE]


@pytest.mark.parametrize("line", [
    "x", "[1]", "3", '{"step": 1}', '{"step": 1, "epoch": NaN}', '{"step": 1, "epoch": -1}',
    '{"step": 1, "epoch": 1, "lr": "high"}', '{"step": 1, "epoch": 9007199254740992}',
])  # fmt: skip
def test_a_damaged_line_is_skipped_by_a_run_and_refused_by_a_report(tmp_path, line):
    lines = line, json.dumps(WHOLE)
    assert read(tmp_path, *lines) == [WHOLE]
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1, must be named numbers such as \{\"epoch\": 1\}, got"):
        read(tmp_path, *lines, for_report=True)


def test_rows_without_a_step_are_for_reports_only(tmp_path):
    assert read(tmp_path, '{"epoch": 1}') == []
    assert read(tmp_path, '{"epoch": 1}', for_report=True) == [{"epoch": 1}]


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not text: byte 0 is not UTF-8.$"):
        read_metrics(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="is not UTF-8. Delete it, or name the result's file instead of the folder."):
        read_metrics(tmp_path / "metrics.jsonl", for_report=True)
