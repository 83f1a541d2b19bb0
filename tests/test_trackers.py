"""W&B, MLflow and a user's own logger receive what `metrics.jsonl` does, and never stop a training."""

import csv
import json
import time

import mlflow
import pytest
from children import wait_until
from conftest import Tiny
from lightning_fabric.loggers import CSVLogger
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import differences, four, quick, state_of

from advdistill.results.metrics import read_metrics


class Own(CSVLogger):
    """Lightning's CSV logger, which fails from step `fails` on."""

    fails = 10**9

    def log_metrics(self, metrics, step=None):
        if step >= self.fails:
            raise ConnectionError("the server is away")
        super().log_metrics(metrics, step)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    mlflow.set_tracking_uri(None)  # Lightning's logger sets it for the whole process
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def test_an_own_logger_has_the_rows_of_the_metrics(tmp_path):
    run = quick(tmp_path / "run", four(Tiny), "rslad", loggers=[Own(tmp_path, "own", "1")])
    lines = (tmp_path / "own" / "1" / "metrics.csv").read_text().splitlines()
    written = [row for row in csv.DictReader(lines) if row["epoch"]]
    rows = read_metrics(run.metrics)
    assert len(rows) == 2
    assert [{name: float(value) for name, value in row.items() if value} for row in written] == rows


def test_tensorboard_has_the_rows_of_the_metrics(tmp_path):
    run = quick(tmp_path / "run", four(Tiny), "rslad")
    board = EventAccumulator(str(run.folder / "tensorboard"))
    board.Reload()
    rows = read_metrics(run.metrics)
    assert len(rows) == 2 and "loss/adv" in rows[0] and set(board.Tags()["scalars"]) == set().union(*rows)
    for name in board.Tags()["scalars"]:
        shown = {event.step: event.value for event in board.Scalars(name)}  # in single precision
        assert shown == {row["step"]: pytest.approx(row[name]) for row in rows if name in row}


def test_a_logger_that_fails_is_named_and_the_run_is_the_same(tmp_path, capsys):
    own = Own(tmp_path, "own", "1")
    own.fails = 6
    run = quick(tmp_path / "run", four(Tiny), "rslad", loggers=[own])
    said = capsys.readouterr().err
    assert said.count("The logger Own has failed and is left out from now on: the server is away") == 1
    other = quick(tmp_path / "other", four(Tiny), "rslad")
    assert differences(state_of(run), state_of(other)) == [] and len(read_metrics(run.metrics)) == 2


def test_two_loggers_of_a_kind_both_have_the_rows(tmp_path):
    quick(tmp_path / "run", four(Tiny), "rslad", loggers=[Own(tmp_path, "own", "1"), Own(tmp_path, "own", "2")])
    first, second = ((tmp_path / "own" / version / "metrics.csv").read_text() for version in "12")
    assert first == second and "loss/adv" in first


def test_a_logger_that_cannot_begin_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(ValueError, match="The logger mlflow cannot start: .*nonsense"):
        quick(tmp_path / "run", four(Tiny), "rslad", loggers=["mlflow"])
    assert quick(tmp_path / "run", four(Tiny), "rslad").last.exists()  # without mlflow the folder can be used


@pytest.mark.parametrize("given, message", [
    ("wanb", "Unknown logger 'wanb'. Did you mean 'wandb'"),
    ("comet", "Unknown logger 'comet'. Known: mlflow, wandb"),
])  # fmt: skip
def test_an_unknown_logger(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        quick(tmp_path / "run", four(Tiny), "rslad", loggers=[given])
    assert not (tmp_path / "run").exists()


def test_a_missing_package(tmp_path, without):
    without("wandb")
    with pytest.raises(ImportError, match=r'pip install "advdistill\[wandb\]"'):
        quick(tmp_path / "run", four(Tiny), "rslad", loggers=["wandb"])


def continued(tmp_path, name: str):
    """Return a run that was stopped after its first epoch and resumed, and the logger's name for it both times."""

    def stop(row):
        raise KeyboardInterrupt

    folder, names = tmp_path / "run", []
    for epochs in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            if epochs == 1:
                patch.setattr("advdistill.train.trainer.Reporter.epoch", lambda self, row, epochs: stop(row))
            try:
                run = quick(folder, four(Tiny), "rslad", loggers=[name])
            except KeyboardInterrupt:
                pass
        names.append(json.loads((folder / "loggers.json").read_text())[name])
        ended = int(time.time())  # W&B names its folders by the second, and writes over one of the same name
        wait_until(lambda ended=ended: int(time.time()) > ended)
    assert names[0] == names[1]
    return run, names[0]


def test_mlflow_goes_on_in_the_same_run(tmp_path):
    run, name = continued(tmp_path, "mlflow")
    client = MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("advdistill").experiment_id])
    assert found.info.run_id == name and found.info.status == "FINISHED" and found.info.run_name == "run"
    assert found.data.params["student"] == "convnet-4" and found.data.params["attack/steps"] == "2"
    kept = {metric.step: metric.value for metric in client.get_metric_history(name, "loss/adv")}
    assert kept == {row["step"]: row["loss/adv"] for row in read_metrics(run.metrics)}


def test_wandb_goes_on_in_the_same_run(tmp_path):
    run, name = continued(tmp_path, "wandb")
    files = (run.folder / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb")
    written = b"".join(file.read_bytes() for file in files)
    values = [row["loss/adv"] for row in read_metrics(run.metrics)]
    assert len(values) == 2 and all(json.dumps(value).encode() in written for value in values)
