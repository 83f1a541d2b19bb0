"""Tests of exported tables: the same figures as Markdown, CSV and LaTeX, for any name of a run."""

import csv
import io
from xml.etree import ElementTree

import markdown
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compare import flags, write

from advdistill.report.formats import markdown_table, markdown_text, tables

ROW = "80.0 (76.3–83.3)"  # 400 of 500; Wilson


def cells(row):
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_markdown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a|b_<i>*", {"clean": flags(400), "pgd-20": flags(200)})
    write(tmp_path, "c", {"clean": flags(400)})
    table, caption, *warnings = tables(["a|b_<i>*", "c"], "markdown").strip().split("\n\n")
    lines = table.splitlines()
    assert cells(lines[0]) == ["model", "clean", "pgd-20", "n", "threat", "seed"]
    assert cells(lines[2]) == [r"a\|b\_&lt;i&gt;\*", ROW, "40.0 (35.8–44.4)", "500", "Linf 8/255", "0"]
    assert cells(lines[3]) == ["c", ROW, "–", "500", "Linf 8/255", "0"]
    assert caption == "Accuracy in % with its 95 % interval, on digits/test (b94169546686)." and warnings == []


@given(st.text("\\\\`*_[]()<>|#&~${}!+-.ab1 ", min_size=1).filter(str.strip))
def test_the_site_shows_text_as_it_is(text):
    table = markdown_table([["a", "b"], ["c", markdown_text(text)]])
    *_, cell = ElementTree.fromstring(markdown.markdown(table, extensions=["tables"])).iter("td")
    assert "".join(cell.itertext()) == " ".join(text.split())


def test_csv_has_a_row_for_each_measurement(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'a,"b', {"clean": flags(400), "pgd-20": flags(200)})
    head, *rows = csv.reader(io.StringIO(tables(['a,"b'], "csv")))
    assert head == ["model", "data", "threat", "seed", "attack", "n", "correct", "accuracy", "low", "high"]
    assert rows[1][:8] == ['a,"b', "digits/test", "Linf 8/255", "0", "pgd-20", "500", "200", "0.400000"]
    assert np.allclose([float(value) for value in rows[1][8:]], (0.357979, 0.443546), atol=1e-5)


def test_latex(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, r"50%_\input{x}^~", {"clean": flags(400)})
    lines = tables([r"50%_\input{x}^~"], "latex").splitlines()
    assert lines[2] == r"\begin{tabular}{lrrlr}" and lines[-1] == r"\end{tabular}"
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    named = r"50\%\_\textbackslash{}input\{x\}\textasciicircum{}\textasciitilde{}"
    assert lines[6] == rf"{named} & $80.0$ {{\footnotesize $[76.3, 83.3]$}} & 500 & Linf 8/255 & 0 \\"


@pytest.mark.parametrize(("kind", "spread"), [("markdown", "41.0 ± 1.4"), ("latex", r"$41.0 \pm 1.4$")])
def test_seeds_are_summed_up(tmp_path, kind, spread):
    """The two runs have 40 % and 42 %."""
    runs = [write(tmp_path, f"{i}", {"pgd-20": flags(200 + 10 * i)}, recipe=f"epochs: 1\nseed: {i}") for i in (0, 1)]
    assert f"/0, 2 seeds {'|' if kind == 'markdown' else '&'} {spread}" in tables(runs, kind)


@pytest.mark.parametrize("kind", ["markdown", "latex"])
def test_what_does_not_compare_is_said(tmp_path, kind):
    runs = [write(tmp_path, "a", {"clean": flags(400)}), write(tmp_path, "b", {"clean": flags(400)[:300]})]
    assert "the number of images differs (500, 300)" in tables(runs, kind)


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match="A table is one of markdown, csv, latex, got 'html'."):
        tables([tmp_path], "html")
    with pytest.raises(ValueError, match="Nothing to tabulate"):
        tables([], "csv")
