"""What a run keeps if it is killed, is damaged, has no disk space or diverges: runs of a tenth of a second."""

import errno
import json
import os

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file
from torch import nn
from training import Died, died_before, differences, four, losses_of, quick, state_of

from advdistill._internal import files
from advdistill.train import trainer as loop
from advdistill.train.divergence import Diverged, catastrophic
from advdistill.train.state import previous_state_file
from advdistill.train.step import Step
from advdistill.train.trainer import Trainer


def run(folder, method="adaad", **changes):
    return quick(folder, four(Tiny), method, **{"validate_every": 1} | changes)


def died(monkeypatch, folder, at, **changes):
    """Start a run that saves after every step and dies before step `at`."""
    died_before(monkeypatch, at, lambda: run(folder, **changes))


def same(first, second) -> bool:
    pairs = [(load_file(getattr(first, name)), load_file(getattr(second, name))) for name in ("best", "last")]
    return (
        differences(state_of(first), state_of(second)) == []
        and losses_of(first) == losses_of(second)
        and first.chosen == second.chosen
        and all(differences(*pair) == [] for pair in pairs)
    )


def flipped(data: bytes) -> bytes:
    place = len(data) // 3
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES = {"truncated": lambda data: data[:-100], "empty": lambda data: b"", "flipped": flipped}


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
@pytest.mark.parametrize("at", [1, 3, 5])  # in the first epoch, at its end, in the second
def test_without_its_newest_state_a_run_goes_on_from_the_one_before(tmp_path, monkeypatch, capfd, damage, at):
    died(monkeypatch, tmp_path / "run", at)
    state = tmp_path / "run" / "state.pt"
    if damage == "missing":
        state.unlink()
    else:
        state.write_bytes(DAMAGES[damage](state.read_bytes()))
    capfd.readouterr()
    again = run(tmp_path / "run")
    first = capfd.readouterr().err.splitlines()[0]
    what = "is missing" if damage == "missing" else "bytes that do not match their checksum"
    assert "state.pt" in first and what in first
    assert first.endswith(f"continuing from the state before it, step {3 if at == 5 else 0} of 6.")
    assert same(again, run(tmp_path / "whole"))


def test_two_damaged_states_are_one_sentence_and_all_else_is_left_alone(tmp_path, monkeypatch):
    died(monkeypatch, tmp_path / "run", 5)
    for name in ("state.pt", "state.previous.pt"):
        (tmp_path / "run" / name).write_bytes(b"nonsense")
    before = {f.name: f.read_bytes() for f in (tmp_path / "run").glob("*.*")}
    with pytest.raises(
        ValueError, match=r"state.pt is damaged .*state.previous.pt is damaged .*Delete the run's folder"
    ):
        run(tmp_path / "run")
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").glob("*.*")} == before


def test_at_every_instant_one_state_is_whole_and_the_one_before_ends_an_epoch(tmp_path, monkeypatch):
    seen, replace = [], os.replace

    def watched(source, target):
        replace(source, target)
        if target.name.startswith("state"):
            state = target.parent / "state.pt"
            before = previous_state_file(state)
            whole = [path for path in (state, before) if path.exists() and files.read_sealed(path)]
            older = torch.load(before, weights_only=True)["position"] if before.exists() else None
            seen.append((len(whole), older and (older["epoch"], older["batch"])))

    monkeypatch.setattr(os, "replace", watched)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    run(tmp_path / "run")
    assert seen[0] == (1, None) and all(count >= 1 for count, _ in seen)
    assert {older for _, older in seen[1:]} == {(0, 0), (1, 0)}


def test_killed_between_state_and_best_checkpoint_the_latter_is_made_from_the_former(tmp_path, monkeypatch):
    def dying(trainer):
        if trainer.state.at.epoch == 2:
            raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Trainer, "_save_best", dying)
        patch.setattr("advdistill.train.checkpoints.better", lambda *rest: True)
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "best.safetensors").exists()
    again = run(tmp_path / "run")
    assert "epoch 2 of 2" in again.chosen and differences(load_file(again.best), load_file(again.last)) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_a_sentence_and_with_room_the_run_goes_on(tmp_path, monkeypatch, number):
    def full(path):
        if ".state.pt." in path.name and len(saved) == 2:
            raise OSError(number, os.strerror(number))
        saved.append(path.name) if ".state.pt." in path.name else None
        sync(path)

    saved, sync = [], files._sync
    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        left = "An earlier file there is unchanged. It needs 0.01 MB; .* MB are free .*same command"
        message = rf"state.pt: {os.strerror(number)}. {left}"
        with pytest.raises(OSError, match=message):
            run(tmp_path / "run")
    assert state_of(quick_run := loop.Run(tmp_path / "run"))["position"]["step"] == 3
    assert not list(quick_run.folder.glob(".*.pt.*"))
    assert same(run(tmp_path / "run"), run(tmp_path / "whole"))


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.abc").touch()  # killed at the very first file
    run(tmp_path / "run")
    (tmp_path / "run" / ".state.pt.abc").write_bytes(b"half")
    run(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.*"))


def breaking(monkeypatch, rollbacks: int, step: int = 4):
    """Make losses and a weight tensor NaN after `step`, until the run was rolled back `rollbacks` times."""

    def broken(self, *arguments):
        at, means = self.state.at, descend(self, *arguments)
        if at.step == step and at.rollbacks < rollbacks:
            next(self.student.parameters()).data.fill_(float("nan"))
            return {name: mean * float("nan") for name, mean in means.items()}
        return means

    descend = Step.__call__
    monkeypatch.setattr(Step, "__call__", broken)


def rows(finished) -> list[dict]:
    return [json.loads(line) for line in finished.metrics.read_text().splitlines()]


def test_a_diverging_run_goes_back_and_halves_the_rate(tmp_path, monkeypatch, capfd):
    calm = rows(run(tmp_path / "calm"))
    breaking(monkeypatch, 2)
    options = {"on_divergence": "rollback"}
    whole = run(tmp_path / "whole", **options)
    said = capfd.readouterr().err
    assert "The loss became nan at step 5 (epoch 2): 'adv' first. Rollback 2 of 3: rolled back to the end of" in said
    assert "epoch 1, with the learning rate divided by 4." in said
    first, second = rows(whole)
    assert "rollbacks" not in first and second["rollbacks"] == 2
    assert second["lr"] == pytest.approx(calm[1]["lr"] / 4) and first["lr"] == calm[0]["lr"]
    for at in (1, 5):
        died(monkeypatch, tmp_path / f"{at}", at, **options)
        assert same(run(tmp_path / f"{at}", **options), whole)


def test_three_rollbacks_are_enough(tmp_path, monkeypatch):
    breaking(monkeypatch, 4, step=1)
    with pytest.raises(Diverged, match="at step 2 .*It was rolled back 3 times before. Try a smaller --optimizer.lr"):
        run(tmp_path / "run", on_divergence="rollback")


def test_a_run_that_stopped_may_go_on_with_rollbacks(tmp_path, monkeypatch):
    breaking(monkeypatch, 1)
    with pytest.raises(Diverged, match="continue with --on-divergence rollback"):
        run(tmp_path / "run")
    again = run(tmp_path / "run", on_divergence="rollback")
    assert again.recipe.on_divergence == "rollback"
    assert same(again, run(tmp_path / "whole", on_divergence="rollback"))


def row(epoch, loss, clean=None, robust=None):
    return {"epoch": epoch, "loss/adv": loss} | ({} if clean is None else {"clean": clean, "robust": robust})


LEARNING = [row(1, 2.0, 0.5, 0.3), row(2, 1.5, 0.6, 0.4)]


@pytest.mark.parametrize(("more", "since"), [
    ([row(3, 1.4, 0.62, 0.41)], None),
    ([row(3, 1.4, 0.7, 0.1)], 3),
    ([row(3, 1.4), row(4, 1.4, 0.7, 0.1)], 4),
    ([row(3, 1.4, 0.7, 0.1), row(4, 0.9, 0.8, 0.0)], 3),
    ([row(3, 1.4, 0.7, 0.1), row(4, 1.6, 0.6, 0.35)], None),  # it recovered
    ([row(3, 1.4, 0.3, 0.1)], None),  # clean accuracy fell as well
    ([row(3, 1.6, 0.7, 0.1)], None),  # the training loss rose
    ([row(3, 1.4, 0.7, 0.21)], None),  # more than half of the robust accuracy is left
    ([row(e, 1.4, 0.7, 0.4 - 0.03 * (e - 2)) for e in range(3, 12)], None),  # robust overfitting is slower
])  # fmt: skip
def test_catastrophic_overfitting_by_hand(more, since):
    assert catastrophic(LEARNING + more) == since


def test_few_images_do_not_make_a_catastrophe():
    assert catastrophic([row(1, 2.0, 0.5, 0.08), row(2, 1.9, 0.5, 0.0)]) is None


def test_a_state_of_other_networks_is_refused(tmp_path):
    quick(tmp_path / "run", four(Tiny), "adaad", epochs=1)
    (tmp_path / "run" / "last.safetensors").unlink()
    with pytest.raises(ValueError, match=r"The run's state is of other networks \(.*\). Give those it began with"):
        quick(tmp_path / "run", four(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 4))), "adaad", epochs=1)
