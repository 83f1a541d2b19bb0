"""Accidents that can happen to a run: each function causes one, resumes with the same command and checks the run."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cases import Case, train
from children import Done
from injected import breaking, full, killed, saving_often, writing

from advdistill import Run

MOMENTS = {False: 80, True: 160}  # of writing, if a run saves after each epoch (False) or each step (True)


@dataclass(frozen=True)
class Outcome:
    """
    Attributes:
        happened: number of accidents; 0 if the run ended before the accident.
        said: how many of them the command reported in one clear sentence.
        lost: everything that is wrong with the run or with what was reported.
    """

    happened: int
    said: int = 0
    lost: tuple[str, ...] = ()


Accident = Callable[[Case, Path, random.Random], Outcome]


def sigkill(case: Case, out: Path, rng: random.Random) -> Outcome:
    return _ended(case, out, sum(_signalled(case, out, rng, signal.SIGKILL).returncode == -9 for _ in range(3)))


def sigkill_while_writing(case: Case, out: Path, rng: random.Random) -> Outcome:
    return _ended(case, out, sum(_killed(case, out, rng) for _ in range(3)))


def asked_to_stop(case: Case, out: Path, rng: random.Random) -> Outcome:
    number = rng.choice([signal.SIGTERM, signal.SIGINT])
    ended = _signalled(case, out, rng, number)
    if ended.returncode == 0:
        return _ended(case, out, 0)
    said = ended.returncode == 128 + number and bool(ended.sentence)
    early = ended.returncode == -number and not (out / "state.pt").exists()  # no signal handler before the training
    return _ended(case, out, 1, said, *([] if said or early else [f"exit code {ended.returncode}: {ended.stderr}"]))


def full_disk(case: Case, out: Path, rng: random.Random) -> Outcome:
    before = _prepared(case, rng, full(rng.choice([0, 100, 2_000, 10_000, 20_000])))
    ended = train(case.file, out, before).wait()
    if ended.returncode == 0:
        return _ended(case, out, 0)
    left = [file.name for file in out.glob(".*.*")]
    wrong = [*_unclear(ended, "Cannot write", "An earlier file there is unchanged"), *left]
    return _ended(case, out, 1, 1, *wrong)


def damaged_newest(case: Case, out: Path, rng: random.Random) -> Outcome:
    _killed(case, out, rng)
    state, older = out / "state.pt", out / "state.previous.pt"
    if not (state.exists() and older.exists()):
        return _ended(case, out, 0)
    _damage(state, rng)
    ended = train(case.file, out, case.always).wait()
    told = all(part in ended.stderr for part in ("state.pt is damaged", "continuing from the state before"))
    told = told and ended.returncode == 0
    return _ended(case, out, 1, 1, *([] if told else [f"not told of the damage: {ended.stderr}"]))


def both_damaged(case: Case, out: Path, rng: random.Random) -> Outcome:
    _killed(case, out, rng)
    states = [file for file in (out / "state.pt", out / "state.previous.pt") if file.exists()]
    if not states:
        return _ended(case, out, 0)
    whole = {file: file.read_bytes() for file in states}
    for file in states:
        _damage(file, rng)
    untouched = [file for file in out.glob("[!.]*.*") if file not in states and file.stem != "heartbeat"]
    others = {file: file.read_bytes() for file in untouched}
    wrong = _unclear(train(case.file, out, case.always).wait(), "is damaged", "Delete the run's folder")
    wrong += [f"{file.name} changed" for file, content in others.items() if file.read_bytes() != content]
    for file, content in whole.items():
        file.write_bytes(content)
    return _ended(case, out, 1, 1, *wrong)


def two_at_once(case: Case, out: Path, rng: random.Random) -> Outcome:
    first = train(case.file, out, case.always)
    first.until((out / "state.pt").exists)
    time.sleep(rng.uniform(0, case.seconds / 3))
    first.send(signal.SIGSTOP)
    met = not (out / "last.safetensors").exists()  # a run that has already ended no longer locks its folder
    second = train(case.file, out, case.always).wait()
    first.send(signal.SIGCONT)
    ended = first.wait()
    wrong = [] if ended.returncode == 0 else [f"the first was disturbed: {ended.stderr}"]
    wrong += _unclear(second, "Another process is writing to") if met else []
    return _ended(case, out, int(met), int(met), *wrong)


def data_removed(case: Case, out: Path, rng: random.Random) -> Outcome:
    _killed(case, out, rng)
    away = case.images.with_name("away")
    shutil.move(case.images, away)
    wrong = _unclear(train(case.file, out, case.always).wait(), "expected train-images")
    shutil.move(away, case.images)
    return _ended(case, out, 1, 1, *wrong)


def nan_once(case: Case, out: Path, rng: random.Random) -> Outcome:
    before = partial(breaking, rng.randrange(18), 1)
    wrong = _unclear(train(case.file, out, before).wait(), "The loss became nan at step", "The last good state is")
    return _ended(case, out, 1, 1, *wrong)


def killed_around_a_rollback(case: Case, out: Path, rng: random.Random) -> Outcome:
    """The loss becomes NaN in the same step of every process, so that the undisturbed run is rolled back as well."""
    step = rng.choice([0, 4, 8, 15])
    rolling = case.changed(f"rollback-{step}", partial(breaking, step, 2), on_divergence="rollback")
    rolling = ROLLING.setdefault((case.name, step), rolling)
    return _ended(rolling, out, sum(_killed(rolling, out, rng) for _ in range(2)))


ROLLING: dict[tuple[str, int], Case] = {}


def _prepared(case: Case, rng: random.Random, happening: Callable[[], None]) -> Callable[[], None]:
    often = rng.random() < 0.5
    moment = rng.randint(1, MOMENTS[often])

    def before() -> None:
        case.always()
        writing(happening, moment)
        if often:
            saving_often()

    return before


def _killed(case: Case, out: Path, rng: random.Random) -> bool:
    return train(case.file, out, _prepared(case, rng, killed)).wait().returncode == -signal.SIGKILL


def _signalled(case: Case, out: Path, rng: random.Random, number: int) -> Done:
    after = rng.uniform(0, case.seconds)
    child = train(case.file, out, saving_often if rng.random() < 0.5 else case.always)
    time.sleep(after)
    child.send(number)
    return child.wait()


def _damage(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if rng.random() < 0.5:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        del content[rng.randrange(len(content)) :]
    file.write_bytes(content)


def _unclear(ended: Done, *parts: str) -> list[str]:
    clear = ended.returncode == 2 and all(part in ended.sentence for part in parts)
    return [] if clear else [f"exit code {ended.returncode}, expected one sentence with {parts}: {ended.stderr}"]


def _ended(case: Case, out: Path, happened: int, said: int = 0, *wrong: str) -> Outcome:
    """Resume the run and compare its end with that of the undisturbed run."""
    ended = train(case.file, out, case.always).wait()
    if ended.returncode != 0:
        return Outcome(happened, said, (*wrong, f"not continued, exit code {ended.returncode}: {ended.stderr}"))
    left = [file.name for file in out.glob(".*.*")]
    return Outcome(happened, said, (*wrong, *left, *case.differs(Run(out))))


CYCLE: dict[str, Accident] = {
    "SIGKILL at a random moment": sigkill,
    "SIGKILL while a file is written": sigkill_while_writing,
    "newest state truncated or a bit flipped": damaged_newest,
    "disk full (RLIMIT_FSIZE)": full_disk,
    "SIGTERM or SIGINT": asked_to_stop,
    "NaN loss": nan_once,
    "killed around a rollback": killed_around_a_rollback,
    "both states damaged": both_damaged,
    "two processes on one folder": two_at_once,
    "data folder removed": data_removed,
}
