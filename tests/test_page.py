"""The report's page, read as text: what it says, what it refuses, that nothing hostile becomes markup."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_result import RESULT

from advdistill.report.loading import load_runs
from advdistill.report.page import page as page_of
from advdistill.results.inspection import Example, Inspection, Network, Prediction
from advdistill.results.masking import CHECKS
from advdistill.results.result import Measurement, Result
from advdistill.results.selection import Selection

HOSTILE = "<script>alert(1)</script>"
NAMES = (HOSTILE, "\"&'</script><!--", "cat", "dog")
N = 40
MASKING = {
    "status": "warn", "data": RESULT.data, "threat": RESULT.threat, "n": 20, "seed": 0,
    "findings": [
        {"name": "softmax", "status": "pass", "figures": {}, "reason": f"No {HOSTILE}."},
        {"name": "longer", "status": "warn", "figures": {"share": 0.1}, "reason": "PGD-100 breaks 2 of 20."},
        *({"name": name, "status": "skip", "figures": {}, "reason": "No surrogate was given."}
          for name in CHECKS if name not in ("softmax", "longer")),
    ],
}  # fmt: skip
EPOCHS = [
    {"step": i, "epoch": i, "lr": 0.1, "loss/adv": 1 / i, "loss/clean": 0.5 / i, "clean": 0.1 * i, "robust": robust,
     "seconds": 1.0, "weight/adv": 0.5 + i / 99, "weight/clean": 0.5 - i / 99, "temperature/adv": 1.0 * i}
    for i, robust in enumerate((0.2, 0.3, 0.25), 1)
]  # fmt: skip


def network(right):
    counts = ((0.0, 30), (8 / 255, right), (0.1, 0))
    curve = {eps: Measurement("pgd-20", "", N, correct, 0.5) for eps, correct in counts}
    classes = {"clean": [(10, 9), (10, 8), (10, 7), (10, 6)], "pgd-20": [(10, right // 4)] * 3 + [(10, right % 4)]}
    return Network(curve, classes, {"clean": 0.123, "pgd-20": 0.25}, None)


def inspection(size=8, **changes):
    rng = np.random.default_rng(0)

    def prediction(clean, after):
        moved = np.clip(clean + rng.choice([-8 / 255, 8 / 255], clean.shape), 0, 1).astype(np.float32)
        return Prediction(NAMES[0], after, moved, rng.normal(size=clean.shape).astype(np.float32))

    examples = []
    for label in NAMES[:2]:
        clean = rng.random((3, size, size), np.float32)
        predictions = {"student": prediction(clean, NAMES[2]), "teacher": prediction(clean, label)}
        examples.append(Example(clean, label, predictions))
    made = Inspection(
        "0123456789ab", RESULT.data, RESULT.fingerprint, RESULT.threat, RESULT.eps, N, 0, "PGD-20", NAMES,
        {"student": network(18), "teacher": network(22)},
        {"cross_entropy": (0.5, 0.25)}, {"uniform": 1.5}, tuple(examples),
    )  # fmt: skip
    return replace(made, **changes)


def write(place, name, right=200, *, whole=True, seed=0, **changes):
    """Write a run's folder with a result and verdicts and, if `whole`, with all other files."""
    folder = place / name
    folder.mkdir(parents=True)
    verdicts = {attack: (np.arange(500) < n).astype(np.uint8) for attack, n in (("clean", 400), ("pgd-20", right))}
    measured = tuple(Measurement(a, "PGD-20", 500, int(v.sum()), 1.0) for a, v in verdicts.items())
    result = replace(RESULT, measurements=measured, weights="0123456789ab", seed=seed, **changes)
    result.save(folder / "result.json")
    described = {"fingerprint": result.fingerprint, "threat": result.threat, "seed": str(seed)}
    save_file(verdicts, folder / "result.verdicts.safetensors", described)
    if whole:
        inspection().save(folder / "result.inspection.safetensors")
        (folder / "result.masking.json").write_text(json.dumps(MASKING))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EPOCHS))
        (folder / "recipe.yaml").write_text(f"method:\n  '{HOSTILE}': {{scale: {right}}}\nseed: {seed}\n")
    return folder


class Words(HTMLParser):
    """The visible text of a page, and its tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.silent = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.silent = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.silent = False

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data)

    def __str__(self):
        return " ".join(" ".join(self.words).split())


def words(*paths):
    return str(Words(page_of(paths)))


def test_the_summary_says_figures_verdicts_and_the_choice(tmp_path):
    write(tmp_path, "base", 200)
    write(tmp_path, "better", 260)
    said = words(tmp_path / "base", tmp_path / "better")
    for line in (
        "robust pgd-20 52.0 % 47.6–56.3",  # 260 of 500
        "W-Robust 66.0 % mean of both",  # (0.8 + 0.52) / 2
        "Against the first ▲ ahead under pgd-20, +12.0 points",
        "Gradient masking ! warn longer",
        "best PGD-10 accuracy on 118 held-out training images among 3 checkpoints, epoch 34 of 40.",
        "5.0 points lost on held-out images: 30.0 % at epoch 2, 25.0 % at the last, 3",
        "clean 75.0 59.8–85.8 dog 60.0 6 of 10 12.3 –",  # accuracy, worst class, ECE, no remainder
        "pgd-20 35.0 22.1–50.5 dog 20.0 2 of 10 25.0",  # 4 + 4 + 4 + 2 of 40
        "softmax ✓ pass No <script>alert(1)</script>.",
        "method.<script>alert(1)</script>.scale 200 260",
    ):
        assert line in said, said[:3000]
    assert "not recorded; published" not in said and "What this page lacks" not in said


@pytest.mark.parametrize(
    ("chosen", "flag"),
    [
        (None, "How this checkpoint was chosen is not recorded; published checkpoints are often picked on the test"),
        (
            Selection(text="best of 5", on_test=True),
            "This checkpoint was chosen on the split it is measured on",
        ),
    ],
)
def test_a_doubtful_choice_is_flagged(tmp_path, chosen, flag):
    said = words(write(tmp_path, "a", whole=False, chosen=chosen))
    assert f"! Selection {flag}" in said and str(chosen or "") in said


def test_what_is_missing_is_left_out_and_it_is_said_how_to_get_it(tmp_path):
    html = page_of([write(tmp_path, "a b", whole=False)])
    said, ids = str(Words(html)), {a.get("id") for _, a in Words(html).tags}
    assert {"summary", "provenance"} <= ids
    assert not {"curves", "training", "classes", "gallery", "gradients", "masking"} & ids
    assert f"advdistill evaluate '{tmp_path}/a b' --inspect" in said
    assert f"advdistill evaluate '{tmp_path}/a b' --masking" in said and "there is no metrics.jsonl" in said


def test_everything_known_has_its_place(tmp_path):
    tags = Words(page_of([write(tmp_path, "a")])).tags
    ids = {a.get("id") for _, a in tags}
    assert {"curves", "training", "classes", "gallery", "gradients", "masking", "provenance"} <= ids
    labels = [a["aria-label"] for _, a in tags if a.get("class") == "vega"]
    assert labels[0].startswith("Accuracy under PGD-20 against eps. a: 75.0% at 0, 45.0% at 8, 0.0% at 25.5. teacher: ")
    assert "Temperatures by epoch. At the end: adv of a 3." in labels and len(labels) == 8
    assert all(a.get("alt") for tag, a in tags if tag == "img")


def test_nothing_hostile_becomes_markup(tmp_path):
    folder = write(tmp_path, "\"&'<img src=x onerror=alert(1)>", versions={HOSTILE: HOSTILE}, command=HOSTILE)
    tags = Words(page_of([folder])).tags
    scripts = [a for tag, a in tags if tag == "script"]
    assert all(a.get("type") == "application/json" for a in scripts[:-2]) and scripts[-2:] == [{}, {}]
    assert not [a for _, a in tags for name in a if name.startswith("on")]
    assert {a["src"][:22] for tag, a in tags if tag == "img"} == {"data:image/png;base64,"}


def test_only_the_pages_own_scripts_may_run_and_nothing_is_fetched(tmp_path):
    html = page_of([write(tmp_path, "a")])
    (policy,) = (a["content"] for tag, a in Words(html).tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-eval" not in policy
    assert re.search(r"script-src [^;]*unsafe-inline", policy) is None


def test_bytes_that_are_no_text_do_not_stop_it(tmp_path):
    assert "run-?" in page_of([write(tmp_path, "run-\udcff", whole=False)])


def test_figures_that_are_not_finite_leave_valid_json(tmp_path):
    folder = write(tmp_path, "a")
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "loss/adv": NaN, "robust": Infinity}\n{"epoch": 2, "los')
    specs = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page_of([folder]))
    assert len(specs) == 4  # curve, loss, and two charts of classes
    for spec in specs:
        json.loads(spec, parse_constant=lambda name: pytest.fail(name))


def test_large_pictures_keep_the_page_small(tmp_path):
    folders = [write(tmp_path, name) for name in "ab"]
    for folder in folders:
        inspection(size=224).save(folder / "result.inspection.safetensors")
    html = page_of(folders)
    assert len(html.encode()) < 5e6 and "1 of 2 examples are here, to keep the page under 5 MB" in html


def test_runs_of_different_suites_stand_side_by_side(tmp_path):
    paths = [write(tmp_path, "a"), write(tmp_path, "b")]
    result = Result.load(paths[1] / "result.json")
    replace(result, measurements=result.measurements[:1]).save(paths[1] / "result.json")
    rows = re.findall(r'<tr><th scope="row" class="name">(\w)</th>\s*<td>(.*?)</td>\s*<td>(.*?)</td>', page_of(paths))
    assert [(name, pgd.split("<")[0]) for name, _, pgd in rows[:2]] == [("a", "40.0"), ("b", "–")]


def test_runs_of_one_name_are_told_apart(tmp_path):
    a, b = (write(tmp_path / place, "run", whole=False) for place in "ab")
    assert [run.name for run in load_runs([a, b, a])] == [str(a), str(b)]


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("result.inspection.safetensors", {"weights": "f" * 12}, "has weights ffffffffffff, but its result has 012"),
        ("result.inspection.safetensors", {"threat": "L2 0.5"}, "has threat L2 0.5, but its result has Linf 8/255"),
        ("result.masking.json", MASKING | {"data": "digits/train"}, "has data digits/train, but its result has"),
        ("result.masking.json", MASKING | {"status": "fine"}, "is damaged or not a verdict on gradient masking"),
        ("result.masking.json", [], "is damaged or not a verdict on gradient masking"),
        ("metrics.jsonl", "x\n{}\n", r"line 1, must be named numbers such as \{\"epoch\": 1\}, got 'x'"),
        ("metrics.jsonl", '{"epoch": 1, "lr": "<b>"}\n', "line 1, must be named numbers"),
    ],
)
def test_files_that_do_not_belong_are_explained(tmp_path, file, damage, message):
    folder = write(tmp_path, "a")
    if file.endswith(".safetensors"):
        inspection(**damage).save(folder / file)
    else:
        (folder / file).write_text(damage if isinstance(damage, str) else json.dumps(damage))
    with pytest.raises(ValueError, match=message) as error:
        page_of([folder])
    assert str(folder / file) in str(error.value)


def test_nothing_to_report_is_explained(tmp_path):
    with pytest.raises(ValueError, match="Nothing to report. Name run folders"):
        page_of([])
    with pytest.raises(FileNotFoundError, match="Evaluate first"):
        page_of([tmp_path])


@pytest.mark.parametrize("package", ["altair", "jinja2", "PIL"])
def test_a_missing_package_is_named(tmp_path, without, package):
    folder = write(tmp_path, "a")
    without(package)
    with pytest.raises(ImportError, match=r'install it with: pip install "advdistill\[report\]"'):
        page_of([folder])
