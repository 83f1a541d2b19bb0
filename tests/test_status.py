"""`advdistill status`: every state a run may be in, made by hand from one run of a tenth of a second."""

import json
import shutil
import socket
import time

import pytest
from conftest import Tiny
from training import four, quick, short

from advdistill import Run
from advdistill.cli import main
from advdistill.train.status import status

KILLED = "exited without recording a status (killed?); run the same command to resume"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return quick(tmp_path_factory.mktemp("status") / "finished", four(Tiny), "adaad", validate_every=1)


@pytest.fixture
def half(tmp_path, finished):
    """A run after its first of two epochs of three steps."""
    shutil.copytree(finished.folder, tmp_path / "half", ignore=shutil.ignore_patterns("last*", "heartbeat*"))
    run = Run(tmp_path / "half")
    run.metrics.write_text(run.metrics.read_text().splitlines(True)[0])
    return run


def beating(run, ago=1.0, **changes):
    now = time.time()
    beat = {"state": "running", "why": "", "step": 4, "total": 6, "epoch": 1, "rollbacks": 0, "pid": 7,
            "host": socket.gethostname(), "time": now - ago, "since": now - ago - 20, "since_step": 2}  # fmt: skip
    run.heartbeat.write_text(json.dumps(beat | changes))


def test_a_finished_run_with_its_figures(finished):
    found, rows = status(finished), [json.loads(line) for line in finished.metrics.read_text().splitlines()]
    assert (found.state, found.why, found.eta, found.health) == ("finished", "", None, ())
    assert (found.epoch, found.epochs, found.step, found.steps, found.done) == (2, 2, 6, 6, 1.0)
    assert found.last["loss"] == rows[1]["loss/adv"] and found.last["clean"] == rows[1]["clean"]
    assert found.best["epoch"] == int(finished.chosen.split("epoch ")[1].split()[0])


def test_a_run_that_has_not_begun_is_waiting(tmp_path):
    (tmp_path / "run").mkdir()
    short(epochs=2).save(tmp_path / "run" / "recipe.yaml")
    found = status(Run(tmp_path / "run"))
    assert (found.state, found.step, found.steps, found.done, found.last) == ("waiting", 0, None, 0.0, {})


def test_a_run_at_work_says_how_long_it_takes(half):
    beating(half)
    with half.writing(half.recipe):
        found = status(half)
    assert (found.state, found.step, found.steps) == ("running", 4, 6) and found.done == pytest.approx(4 / 6)
    assert found.eta == pytest.approx(20)  # 2 steps took 20 seconds, and 2 are left


@pytest.mark.parametrize(("beat", "held", "state", "why"), [
    ({"ago": 700}, True, "stale", ""),
    ({}, False, "stopped", KILLED),
    ({"host": "elsewhere"}, False, "running", ""),  # a lock on another host is not visible here
    ({"host": "elsewhere", "ago": 100}, False, "stopped", KILLED),
    ({"state": "stopped", "why": "Stopped by SIGTERM"}, False, "stopped", "Stopped by SIGTERM"),
    ({"state": "diverged", "why": "The loss became nan"}, False, "diverged", "The loss became nan"),
])  # fmt: skip
def test_a_run_that_is_not_finished(half, beat, held, state, why):
    beating(half, **beat)
    if held:
        with half.writing(half.recipe):
            found = status(half)
    else:
        found = status(half)
    assert found.state == state and why in found.why and bool(found.why) == bool(why)
    assert found.step == 4 and found.epoch == 1


def test_a_run_that_dies_marks_its_end(tmp_path, monkeypatch):
    def dying(*arguments):
        raise OSError("The disk is gone.")

    monkeypatch.setattr("advdistill.train.trainer.Trainer._validate", dying)
    with pytest.raises(OSError, match="gone"):
        quick(tmp_path / "run", four(Tiny), "adaad")
    found = status(Run(tmp_path / "run"))
    assert (found.state, found.why, found.step, found.steps) == ("stopped", "The disk is gone.", 3, 6)


def test_what_is_wrong_is_said(half):
    figures = [(1, 0.5, 0.4), (2, 0.6, 0.0)]
    rows = [{"step": 3 * e, "epoch": e, "loss/adv": 1.0, "clean": c, "robust": r} for e, c, r in figures]
    half.metrics.write_text("".join(json.dumps(row | {"rollbacks": 2}) + "\n" for row in rows) + '{"step": 9, "ep')
    half.state.write_bytes(b"nonsense")
    found = status(half)
    assert found.health == ("catastrophic overfitting since epoch 2", "2 rollbacks", "state.pt is damaged")
    assert found.best == {"epoch": 1, "clean": 0.5, "robust": 0.4}


def test_the_command(half, finished, tmp_path, capsys):
    beating(half, state="diverged", why="The loss became nan.")
    folders = [str(half), str(finished)]
    assert main(["status", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in found] == ["diverged", "finished"] and found[1]["done"] == 1
    assert main(["status", *folders]) == 0
    shown = capsys.readouterr().out
    assert "diverged" in shown and f"{half}: The loss became nan." in shown and f"{finished}:" not in shown
    assert main(["status", str(tmp_path)]) == 2 and "is not a run" in capsys.readouterr().err
    assert main(["status"]) == 2 and "Name run folders" in capsys.readouterr().err
