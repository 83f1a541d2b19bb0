"""Hostile files give a clear sentence or do no harm: nothing is run or written outside, time and memory are bounded."""

import os
from pathlib import Path

import pytest
from fuzzing import fuzz
from guarded import guarded, watch
from handmade import ANSWERED, REFUSED

from advdistill import models
from advdistill._internal.files import append, write_json
from advdistill._internal.reading import printable
from advdistill.cli.report import Report
from advdistill.report.charts import javascript
from advdistill.report.page import page
from examples import RECIPE, RESULT, inspection, network, run_folder, state

MEGABYTES = 150  # most memory of a read, for pieces of an archive or a truncated picture


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Load what charts and optimisers need once, before the guard watches."""
    javascript()
    state()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with `run`, in which files are read, and `outside`, which must stay unchanged."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("ADVDISTILL_NO_PYTHON_REFS", "1")
    watch()
    return tmp_path


def untouched(place: Path) -> bool:
    return [(f.name, f.read_text()) for f in (place / "outside").iterdir()] == [("kept", "kept")]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(name, place):
    outcome = guarded(REFUSED[name](place / "run"), place / "run")
    assert outcome.kind == "clear", outcome.said
    assert not outcome.outside and untouched(place)
    assert outcome.megabytes < MEGABYTES


@pytest.mark.parametrize("name", ANSWERED)
def test_it_does_no_harm(name, place):
    outcome = guarded(ANSWERED[name](place / "run"), place / "run")
    assert outcome.kind == "fine", outcome.said
    assert not outcome.outside and untouched(place)


def test_files_damaged_at_random(tmp_path):
    watch()
    tallies = list(fuzz(220, 7, tmp_path))
    assert [(t.name, o.said, o.outside) for t in tallies for o in t.outcomes if o.kind == "other" or o.outside] == []
    assert sum(t.count("clear") for t in tallies) > 100 and sum(t.count("fine") for t in tallies) > 10


def test_the_guard_sees_what_it_should(place):
    def all_at_once():
        bytearray(os.urandom(1) * 200_000_000)
        os.system(f"touch {place / 'outside' / 'new'}")
        (place / "outside" / "kept").write_text("")
        raise KeyError("x")

    outcome = guarded(all_at_once, place / "run")
    assert outcome.kind == "other" and "KeyError" in outcome.said
    assert [word.split()[0] for word in outcome.outside] == ["os.system", "open"]
    if Path("/proc/self/clear_refs").exists():
        assert 150 < outcome.megabytes < 600


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_permissions_that_the_umask_says(tmp_path, umask):
    before = os.umask(umask)
    try:
        run_folder(tmp_path / "run")
        state().save(tmp_path / "state.pt")
        models.save(network(), tmp_path / "m.safetensors")
        RECIPE.save(tmp_path / "recipe.yaml")
        write_json(tmp_path / "x.json", {})
        append(tmp_path / "metrics.jsonl", "{}\n")
        Report((tmp_path / "run",), tmp_path / "page.html", as_is=True)()
    finally:
        os.umask(before)
    modes = {f.name: oct(f.stat().st_mode & 0o777) for f in tmp_path.rglob("*") if f.is_file()}
    assert len(modes) > 8 and set(modes.values()) == {oct(0o666 & ~umask)}, modes


HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"


def test_names_are_escaped_on_the_page(tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    run_folder(folder)
    made = inspection()
    object.__setattr__(made, "class_names", (HOSTILE, "dog"))
    made.save(folder / "result.inspection.safetensors")
    html = page([folder])
    assert "<script>alert" not in html and "<img src=x" not in html and "alert(1)" in html


def test_what_is_quoted_cannot_steer_a_terminal():
    assert printable(f"a\n{HOSTILE}") == "a <script>alert(1)</script>\ufffd[2J\ufffd"
    assert len(printable("x" * 10**7)) < 300 and RESULT.model == "student"
