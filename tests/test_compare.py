"""Comparing results: which is ahead, several seeds, and files that do not belong together."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text
from safetensors.numpy import save_file
from test_result import RESULT, text

from advdistill.cli import main
from advdistill.report.columns import Columns, pieces
from advdistill.report.compare import compare, mismatches
from advdistill.results.result import Measurement

N = 500


def flags(right, broken_of_these=0, right_of_others=0):
    """1 for the first `right` images without the first `broken_of_these`, and for `right_of_others` more images."""
    made = (np.arange(N) < right).astype(np.uint8)
    made[:broken_of_these], made[right : right + right_of_others] = 0, 1
    return made


def write(place, name, verdicts, *, keep=True, recipe=None, settings="PGD-20", **changes):
    """Write a run's folder with a result and, if `keep`, the verdict on each image."""
    folder = place / name
    folder.mkdir()
    measured = tuple(Measurement(a, settings, len(v), int(v.sum()), 1.0) for a, v in verdicts.items())
    result = replace(RESULT, measurements=measured, **changes)
    result.save(folder / "result.json")
    if keep:
        described = {"fingerprint": result.fingerprint, "threat": result.threat, "seed": str(result.seed)}
        notes = {"autoattack.by": np.zeros(3, np.uint8), "pgd-20.seconds": np.zeros(3, np.float32)}
        save_file(verdicts | notes, folder / "result.verdicts.safetensors", described)
    if recipe is not None:
        (folder / "recipe.yaml").write_text(recipe)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def shown(*names, width=200):
    return [line.rstrip() for line in text(compare(names), width).splitlines()]


def test_one_line_for_each_attack_against_the_first(place):
    write(place, "pgd_at", {"clean": flags(300), "pgd-20": flags(200)})
    write(place, "rslad", {"clean": flags(300, 2, 30), "pgd-20": flags(200, 8, 2)})
    lines = shown("pgd_at", "rslad")
    assert lines[-3:] == [
        "rslad against pgd_at, clean: +5.6 points (3.4 to 7.8), ahead (McNemar p < 0.001, 500 images)",
        "rslad against pgd_at, pgd-20: -1.2 points (-2.5 to 0.1), not distinguishable (McNemar p = 0.11, 500 images)",
        "The p values are those after Holm's correction for 2 comparisons.",
    ]


def test_one_comparison_needs_no_correction(place):
    write(place, "a", {"pgd-20": flags(200)})
    write(place, "b", {"pgd-20": flags(200, 8, 2)})
    lines = shown("a", "b")
    assert lines[-1].endswith("not distinguishable (McNemar p = 0.11, 500 images)") and "Holm" not in " ".join(lines)


def test_the_correction_can_change_a_verdict(place):
    """6 discordant images, all in one direction: p = 0.03 as the only comparison, 0.06 as one of two."""
    for name, verdicts in {"a": flags(200), "b": flags(200, 6), "c": flags(200, 8, 2)}.items():
        write(place, name, {"pgd-20": verdicts})
    assert "behind (McNemar p = 0.031, 500 images)" in " ".join(shown("a", "b"))
    assert "not distinguishable (McNemar p = 0.062, 500 images)" in " ".join(shown("a", "b", "c"))


def test_verdicts_have_colours(place):
    for name, verdicts in {"a": flags(200), "better": flags(260), "worse": flags(150), "same": flags(200)}.items():
        write(place, name, {"pgd-20": verdicts})
    lines = [part for part in compare(["a", "better", "worse", "same"]).renderables if isinstance(part, Text)]
    styles = {line.plain[span.start : span.end]: span.style for line in lines for span in line.spans}
    assert styles["ahead"] == "green" and styles["behind"] == "red"
    assert Style.parse(styles.get("not distinguishable", "")).color is None


def test_counts_alone_are_compared_unpaired_and_it_is_said(place):
    write(place, "a", {"pgd-20": flags(200)}, keep=False)
    write(place, "b", {"pgd-20": flags(260)})
    lines = shown("a", "b")
    assert lines[-2] == (
        "b against a, pgd-20: +12.0 points (5.8 to 18.0), ahead (unpaired, Fisher p < 0.001, 500 images)"
    )
    assert lines[-1].startswith("Unpaired, as the verdicts on each image are missing: a. Evaluate again")


def test_an_attack_that_came_later_without_verdicts_is_unpaired_alone(place):
    write(place, "a", {"clean": flags(300), "pgd-20": flags(200)})
    folder = write(place, "b", {"clean": flags(310), "pgd-20": flags(201)}, keep=False)
    described = {"fingerprint": RESULT.fingerprint, "threat": RESULT.threat, "seed": "0"}
    save_file({"clean": flags(310)}, folder / "result.verdicts.safetensors", described)
    lines = " ".join(shown("a", "b"))
    assert "clean: +2.0 points (0.7 to 3.3), ahead (McNemar p = 0.004, 500" in lines  # 2 / 2^10, doubled by Holm
    assert "pgd-20: +0.2 points (-5.9 to 6.3), not distinguishable (unpaired, Fisher" in lines
    assert "missing: b." in lines


def test_many_attacks_make_a_table(place):
    names = ("clean", "fgsm", "pgd-20", "pgd-20-trades", "cw-30", "autoattack")
    write(place, "run[a]", {name: flags(200) for name in names})
    write(place, "b", {name: flags(200 + 20 * i) for i, name in enumerate(names)})
    lines = shown("run[a]", "b", width=80)
    assert any(line.split() == ["run[a]", *["40.0"] * 6] for line in lines)
    at = next(i for i, line in enumerate(lines) if "+20.0" in line)
    assert lines[at].split() == ["b", "+0.0", "+4.0", "+8.0", "+12.0", "+16.0", "+20.0"]
    assert lines[at + 1].split() == ["undecided", *["ahead"] * 5]
    assert " ".join(" ".join(lines[at + 2 :]).split()) == (
        "Points against run[a]; undecided: not distinguishable, p >= 0.05 after Holm's correction for 6 comparisons."
    )


def test_many_runs_make_a_table(place):
    for i in range(8):
        write(place, f"run-{i}", {"pgd-20": flags(200 + 10 * i)})
    lines = shown(*(f"run-{i}" for i in range(8)))
    assert "run-7 +14.0 ahead" in [" ".join(line.split()) for line in lines]
    assert not any("against run-0, pgd-20" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"threat": "Linf 4/255", "eps": 4 / 255}, "threat model differs (Linf 8/255, Linf 4/255)"),
        ({"fingerprint": "0" * 12}, "data differs"),
        ({"settings": "PGD-20, searched in bf16"}, "attack pgd-20 differs (PGD-20, PGD-20, searched in bf16)"),
    ],
)
def test_no_verdict_on_what_does_not_compare(place, changes, what):
    write(place, "a", {"pgd-20": flags(200)})
    write(place, "b", {"pgd-20": flags(300)}, **changes)
    lines = shown("a", "b")
    assert lines[-1].startswith(f"These results are not comparable: the {what}") and "against" not in " ".join(lines)


def test_a_run_that_fits_is_compared_beside_one_that_does_not(place):
    write(place, "a", {"pgd-20": flags(200)})
    write(place, "b", {"pgd-20": flags(300)})
    write(place, "fewer", {"pgd-20": flags(200)[:400]})
    lines = " ".join(shown("a", "b", "fewer"))
    assert "b against a, pgd-20: +20.0" in lines and "fewer against" not in lines
    assert "the number of images differs (500, 400)" in lines


def test_results_measured_alike_do_not_mismatch():
    assert mismatches([RESULT, RESULT]) == []


RECIPE = "method:\n  rslad: {scale: 1}\nepochs: 40\nseed: "


def test_runs_that_differ_in_the_seed_are_summed_up(place):
    for seed, right in enumerate((200, 210, 235)):
        write(place, f"rslad-{seed}", {"clean": flags(400), "pgd-20": flags(right)}, recipe=f"{RECIPE}{seed}")
    write(place, "longer", {"pgd-20": flags(200)}, recipe=f"{RECIPE}3".replace("40", "80"))
    lines = [" ".join(line.split()) for line in shown("rslad-0", "rslad-1", "rslad-2", "longer")]
    assert "rslad-0, 3 seeds 80.0 ± 0.0 43.0 ± 3.6" in lines  # 40, 42, 47: sqrt((9 + 1 + 16) / 2)
    assert "Over seeds: mean ± standard deviation." in " ".join(lines)
    assert not any("longer," in line for line in lines)


@pytest.mark.parametrize("other", ["same seed", "fewer images", "file/result.json"])
def test_what_is_no_repetition_is_not_summed_up(place, other):
    write(place, "a", {"pgd-20": flags(200)}, recipe=f"{RECIPE}0")
    write(place, "same seed", {"pgd-20": flags(200)}, recipe=f"{RECIPE}0")
    write(place, "fewer images", {"pgd-20": flags(200)[:100]}, recipe=f"{RECIPE}1")
    write(place, "file", {"pgd-20": flags(220)}, recipe=f"{RECIPE}2")
    assert "seeds" not in " ".join(shown("a", other)) and "2 seeds" in " ".join(shown("a", "file"))


def damage(name):
    file = Path(name, "result.verdicts.safetensors")
    described = {"fingerprint": RESULT.fingerprint, "threat": RESULT.threat, "seed": "0"}

    def resaved(verdicts, **changes):
        save_file({"pgd-20": verdicts}, file, described | changes)

    def truncated():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return {
        "length": lambda: resaved(flags(200)[:499]),
        "other verdicts": lambda: resaved(flags(201)),
        "unknown verdicts": lambda: resaved(np.where(np.arange(N) < 400, flags(200), 255).astype(np.uint8)),
        "fingerprint": lambda: resaved(flags(200), fingerprint="0" * 12),
        "threat": lambda: resaved(flags(200), threat="Linf 4/255"),
        "seed": lambda: resaved(flags(200), seed="7"),
        "nothing said": lambda: save_file({"pgd-20": flags(200)}, file),
        "truncated": truncated,
        "empty": lambda: file.write_bytes(b""),
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("length", "has 499 verdicts under pgd-20, 200 right and 299 broken; its result has 200 of 500 images right"),
        ("other verdicts", "201 right and 299 broken; its result has 200 of 500"),
        ("unknown verdicts", "200 right and 200 broken; its result has 200 of 500"),
        ("fingerprint", "has fingerprint 000000000000, but its result has b94169546686. Delete it, or evaluate again."),
        ("threat", "has threat Linf 4/255, but its result has Linf 8/255"),
        ("seed", "has seed 7, but its result has 0"),
        ("nothing said", "has fingerprint None, but its result has b94169546686"),
        ("truncated", "is truncated or damaged"),
        ("empty", "is truncated or damaged"),
    ],
)
def test_verdicts_that_are_not_those_of_the_result(place, capsys, kind, message):
    write(place, "a", {"pgd-20": flags(200)})
    write(place, "b", {"pgd-20": flags(210)})
    damage("a")[kind]()
    assert main(["compare", "a", "b"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("advdistill: a/result.verdicts.safetensors") and said.count("\n") == 1


@pytest.mark.parametrize(("recipe", "message"), [("a: [", "is not YAML"), ("- 1", "must hold fields such as")])
def test_a_damaged_recipe_is_named(place, capsys, recipe, message):
    write(place, "a", {"pgd-20": flags(200)}, recipe=recipe)
    assert main(["compare", "a"]) == 2
    said = capsys.readouterr().err
    assert "a/recipe.yaml" in said and message in said and said.count("\n") == 1


def test_the_command_shows_it(place, capsys):
    write(place, "a", {"pgd-20": flags(200)})
    write(place, "b", {"pgd-20": flags(260)})
    (place / "b" / "result.json").rename(place / "b.json")
    (place / "b" / "result.verdicts.safetensors").rename(place / "b.verdicts.safetensors")
    assert main(["compare", "a", "b.json"]) == 0
    assert "b.json against a, pgd-20: +12.0 points" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", ["clean_mobilenet_v2", "runs/cifar10.rslad_resnet18-seed3", "x" * 40, "网络_" * 9, ""])
def test_a_name_breaks_between_its_pieces_and_no_figure_is_cut(name, width):
    attacks = ["clean", "transfer-pgd-20-trades"]
    console = Console(width=width, file=StringIO())
    console.print(Columns(attacks, [(name, dict.fromkeys(attacks, "99.9\n98.8-99.9"))], "", one_line=False))
    lines = console.file.getvalue().splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert "\n".join(lines).count("98.8-99.9") == 2 and "trades" in "".join(lines)
    shown = [line.split("  ")[0].strip() for line in lines[lines.index("─" * cell_len(lines[2])) + 1 :]]
    others = ("model", "─", "99.9", "98.8", "transfer", "trades")
    names = [part for part in shown if part and not part.startswith(others)]
    assert "".join(names) in (name, 2 * name)  # the table is in two parts if it is too wide
    if name != "x" * 40:
        ends = {"".join(pieces(name)[: n + 1]) for n in range(len(pieces(name)))}
        assert {"".join(names[: n + 1]) for n in range(len(names))} <= ends | {name + end for end in ends}
