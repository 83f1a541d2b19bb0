"""Tests that every command in the documents is parsed, and that those of a new user's journeys run in order."""

import re
import shlex
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from children import advdistill
from conftest import ROOT
from test_docs import DOCUMENTS, README, blocks, prose

from advdistill import Run, cli, recipes
from advdistill.results.result import Result


def typed(path):
    """Return the commands of a document, in blocks and between backticks, without the leading `advdistill`."""
    lines = "\n".join(text for shell in ("", "sh", "bash") for text in blocks(path, shell)).replace("\\\n", " ")
    given = re.findall(r"\badvdistill ([a-z-].*?)(?: [|>;&].*)?$", lines, re.M)
    given += re.findall(r"`advdistill ([a-z-][^`]*)`", prose(path))
    return [command for command in given if "..." not in command]


def words_of(command, recipe):
    """Split a command as the shell would, with values for its placeholders."""
    command = command.replace("RECIPE", "digits.rslad").replace("my_module:MyMethod", "my_module:Mine")
    words = shlex.split(re.sub(r"\$\w+", "1", command), comments=True)
    if len(words) == 1 and words != ["train"]:  # only mentioned; train has a default for everything
        words.append("--help")
    words = [str(recipe) if word.endswith(".yaml") else word for word in words]
    resumed = {i + 1 for i, word in enumerate(words) if word == "--resume"}
    return [str(recipe.parent) if i in resumed else word for i, word in enumerate(words)]


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    """The module `my_module` of the documents, as a file; afterwards it is removed from `sys.modules`."""
    imports = "from dataclasses import dataclass\nimport advdistill as ad\nfrom advdistill.losses import kl\n"
    (tmp_path / "my_module.py").write_text(imports + blocks(README)[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    yield
    sys.modules.pop("my_module", None)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if typed(path)], ids=lambda p: p.name)
def test_commands_are_understood(path, my_module, tmp_path, monkeypatch, capsys):
    for command in set(cli.Command.__args__) - {cli.Train, cli.Preflight}:
        monkeypatch.setattr(command, "__call__", lambda self: 0)
    for module, name in ((cli.train, "train"), (cli.preflight, "preflight")):  # recipe and fields are parsed before
        monkeypatch.setattr(module, name, lambda recipe, options: 0)
    monkeypatch.setattr(cli, "forbid", lambda: None)  # it would last as long as this process
    monkeypatch.chdir(ROOT)
    recipes.load("digits.rslad").save(tmp_path / "recipe.yaml")
    for command in typed(path):
        try:
            code = cli.main(words_of(command, tmp_path / "recipe.yaml"))
        except SystemExit as left:  # raised by --help, and by tyro for unknown arguments
            code = left.code
        assert not code, f"advdistill {command}\n{''.join(capsys.readouterr())}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_scripts_and_targets_exist(path):
    text, targets = path.read_text(), re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert all((ROOT / script).exists() for script in re.findall(r"\bpython ([\w/]+\.py)", text))
    made = re.findall(r"^(?:\$ )?make (\w+)|`make (\w+)`", text, re.M)
    assert {line or inline for line, inline in made} <= set(targets)


JOURNEYS = {
    "flowers, README": (README, "advdistill init flowers"),
    "flowers, own_data.md": (ROOT / "docs" / "own_data.md", "advdistill init flowers"),
    "digits, quick_start.md": (ROOT / "docs" / "quick_start.md", "advdistill train digits.teacher"),
    "results, quick_start.md": (ROOT / "docs" / "quick_start.md", "advdistill evaluate runs/digits.rslad"),
}
NEEDS = {"results, quick_start.md": ["digits, quick_start.md"]}  # journeys that must run first


def steps(name):
    """Return the commands of a journey's block, without those that need a network."""
    path, begin = JOURNEYS[name]
    block = next(text for text in blocks(path, "") if begin in text)
    found = [line.removeprefix("advdistill ") for line in block.splitlines() if line.startswith("advdistill ")]
    return [line for line in found if "OWNER/NAME" not in line]


MORE = [  # commands of other blocks, run after a journey in `NEEDS` on its runs; `*` is expanded as in a shell
    "compare runs/*", "status runs/*", "status runs/* --json", "report runs/* --out report.html", "list methods",
    "list teachers",
    "evaluate runs/digits.rslad --attacks clean,pgd-20,python:examples/own_attack.py:Momentum",
    "train digits.rslad --method my_module:Mine --method.weight 2 --teacher runs/digits.teacher",
]  # fmt: skip
NOT_RUN = {  # patterns of shown commands that are only parsed, with the reason; each must match a command
    r"\bcifar100?\b": "CIFAR's data are downloaded, and a training takes hours; the same commands are run on digits",
    r"OWNER/NAME": "writes to the Hub; `push` into a folder is run by test_hub.py",
    r"\$seed": "a loop of the shell over seeds",
    r"runs/(rslad|adaad|ard)-\d": "runs of the loop before, or on CIFAR; compare and report are run on those of digits",
    r"\bstudent\b": "a student of the reader's own; export is run on flowers, and push by test_hub.py",
    r"runs/quickstart/": "runs of `advdistill quickstart`, which takes minutes; the same commands are run on others",
    r"examples/own_method.py": "test_cli.py trains with it",
    r"examples/methods/": "test_methods_that_need_more.py trains with it",
    r"^study study.yaml": "48 trainings; test_study.py runs the commands on a small study, and reads this file",
    r"--attack.start-radius": "test_cheaper_attacks.py trains with N-FGSM",
    r"--data.stream": "test_streaming.py trains on streamed pictures",
}


def shown(path):
    """Return the commands in a document's blocks, without comments."""
    lines = "\n".join(text for shell in ("", "sh", "bash") for text in blocks(path, shell)).replace("\\\n", " ")
    found = re.findall(r"\badvdistill ([a-z-].*?)(?: [|>;&].*)?$", lines, re.M)
    return [plain(command) for command in found if "..." not in command]


def plain(command):
    return " ".join(command.split(" #")[0].split())


def test_every_shown_command_is_run_or_has_a_reason():
    run = {plain(command) for name in JOURNEYS for command in steps(name)} | {plain(command) for command in MORE}
    commands = {command for path in DOCUMENTS for command in shown(path)}
    left = commands - run
    assert [one for one in left if not any(re.search(pattern, one) for pattern in NOT_RUN)] == []
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, one) for one in left)] == []
    assert {plain(command) for command in MORE} <= commands  # every command of `MORE` is still in a document


def run_more(folder):
    """Run `MORE` in a folder with the runs of a journey; a training first deletes the earlier run."""
    (folder / "examples").symlink_to(ROOT / "examples")
    imports = "from dataclasses import dataclass\nimport advdistill as ad\nfrom advdistill.losses import kl\n"
    (folder / "my_module.py").write_text(imports + blocks(README)[1])
    for command in MORE:
        if command.startswith("train"):
            shutil.rmtree(folder / "runs" / "digits.rslad")
        words = [sorted(f"runs/{run.name}" for run in (folder / "runs").iterdir()) if word == "runs/*" else [word]
                 for word in shlex.split(command)]  # fmt: skip
        done = advdistill(*(word for found in words for word in found), cwd=folder, before=shorten)
        assert done.returncode == 0, f"advdistill {command}\n{done.stdout}{done.stderr}"


def shorten():
    """Patch a child: each run has one epoch of a small student, each evaluation few images; commands stay unchanged."""
    from advdistill.cli import preflight, train

    def short(function):
        def shortened(recipe, options):
            attack = replace(recipe.attack, steps=1, step_size=recipe.attack.threat.eps / 4)
            small = recipe.replace(student="convnet-2", epochs=1, batch_size=64, attack=attack)
            return function(small, replace(options, accelerator="cpu"))

        return shortened

    def fewer(command, **changes):
        call = command.__call__
        command.__call__ = lambda self: call(replace(self, **changes))

    train.train, preflight.preflight = short(train.train), short(preflight.preflight)
    fewer(cli.Evaluate, n=20)
    fewer(cli.Export, n=10, queries=2)
    fewer(cli.Report, as_is=True)


def flowers(folder):
    """Write images of 8 x 8 of two classes that differ in brightness."""
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for part, n in (("train", 60), ("test", 20)):
        for shade, name in enumerate(("daisy", "tulip")):
            (folder / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(120 * shade, 120 * shade + 100, (8, 8, 3), dtype=np.uint8)
                pillow.fromarray(pixels).save(folder / part / name / f"{i}.png")


@pytest.mark.parametrize("name", JOURNEYS)
def test_the_journey_of_the_documents_can_be_typed(name, tmp_path):
    flowers(tmp_path / "flowers")
    for command in [line for before in (*NEEDS.get(name, ()), name) for line in steps(before)]:
        done = advdistill(*shlex.split(command, comments=True), cwd=tmp_path, before=shorten)
        assert done.returncode == 0, f"advdistill {command}\n{done.stdout}{done.stderr}"
        if command.startswith("init"):
            plan = re.findall(r"^  advdistill (.*)$", done.stdout, re.M)
            assert plan[0] == "train flowers.teacher.yaml --out runs/flowers.teacher"
            assert {file.name for file in tmp_path.glob("*.yaml")} == {"flowers.yaml", "flowers.teacher.yaml"}
        if command.startswith("train"):
            assert "epoch   1/1" in done.stderr and "pgd-20" in done.stdout
        if command.startswith("preflight"):
            assert "robust teacher: " in done.stderr + done.stdout and "the run: " in done.stdout
    runs = {run.name for run in (tmp_path / "runs").iterdir()}
    expected = {"flowers", "flowers.teacher"} if "flowers" in name else {"digits.teacher", "digits.rslad", "short"}
    assert runs == expected | ({"flowers.alone"} if "own_data" in name else set())
    for run in runs:
        assert Run(tmp_path / "runs" / run).best.exists()
        assert Result.load(tmp_path / "runs" / run / "result.json").measurements[0].attack == "clean"
    if "flowers" in name:
        assert (tmp_path / "runs" / "flowers" / "model.int8.onnx").exists()
    if name in NEEDS:
        run_more(tmp_path)
