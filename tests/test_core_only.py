"""Tests of an environment without extras: the core trains, and everything else names the extra to install."""

import json
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest
from children import PATIENCE
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from advdistill.cli import Command
from advdistill.quickstart import quickstart

SCRIPT = Path(__file__).with_name("core_only.py")
COMMANDS = sorted(command.__name__.lower() for command in Command.__args__)


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """Return the distributions that these requirements install in this environment, by name."""
    found, wanted, done = {}, [Requirement(text) for text in requirements], set()
    while wanted:
        requirement = wanted.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in done:
            continue
        done.add((name, extras))
        found[name] = distribution(name)
        for needed in map(Requirement, found[name].requires or ()):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                wanted.append(needed)
    return found


def tops(installed: Iterable[Distribution]) -> set[str]:
    """Return the top-level names of distributions in site-packages: packages, modules, their metadata."""
    first = {file.parts[0] for one in installed for file in one.files or ()}
    return first - {"..", "__pycache__"}


@pytest.fixture(scope="module")
def core():
    """The requirements of pyproject.toml and their own requirements."""
    return closure(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


@pytest.fixture(scope="module")
def said(core, tmp_path_factory):
    """The report of core_only.py, run in an environment of the core alone; it has each command's outcome by name."""
    place = tmp_path_factory.mktemp("core")
    venv.create(place / "venv", symlinks=True, with_pip=False)
    (packages,) = place.glob("venv/lib/python*/site-packages")
    home = distribution("torch").locate_file("")
    for top in tops(core.values()):
        (packages / top).symlink_to(home / top)
    (packages / "advdistill").symlink_to(ROOT / "advdistill")
    (place / "README.md").symlink_to(ROOT / "README.md")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    others = {name.removesuffix(".py") for name in tops(distributions()) - tops(core.values()) - {"advdistill"}}
    modules = sorted(filter(str.isidentifier, others))
    (place / "asked.json").write_text(json.dumps({"modules": modules, "commands": COMMANDS}))
    done = subprocess.run([place / "venv/bin/python", SCRIPT, "asked.json", "said.json"], cwd=place, env=environment,
                          capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((place / "said.json").read_text())


def test_only_the_core_is_there(core, said):
    assert {"torch", "numpy", "tyro", "sympy", "lightning-utilities"} <= core.keys()
    assert not core.keys() & {"scikit-learn", "pillow", "pyarrow", "huggingface-hub", "onnx", "matplotlib", "pytest"}
    assert said["importable"] == [] and {"sklearn", "PIL", "timm", "wandb", "onnx"} <= set(said["asked"])


def test_the_readmes_loop_runs(said):
    assert 0 < said["loss"] < 100


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command(said, command):
    outcome = said["commands"][f"{command} --help"]
    assert outcome["code"] == 0 and f"usage: advdistill {command}" in outcome["out"]


@pytest.mark.parametrize("step", [
    "list recipes", "list datasets", "init", "preflight", "train teacher", "train", "evaluate", "compare", "status",
    "report md", "export safetensors", "push folder", "verify",
])  # fmt: skip
def test_ones_own_images_without_an_extra(said, step):
    outcome = said["commands"][step]
    assert outcome["code"] == 0, outcome["err"]


def test_what_the_run_measured(said):
    assert said["accuracies"].keys() == {"clean", "fgsm", "pgd-20"} and said["accuracies"]["clean"] >= 0.9
    assert "| runs/own | " in said["table"] and said["loaded_back"] is True


@pytest.mark.parametrize(("step", "extra", "sentence"), [
    ("digits", "data", "digits needs the package sklearn"),
    ("quickstart", "data", "digits needs the package sklearn"),
    ("own pictures", "data", "Reading images needs the package PIL"),
    ("autoattack", "eval", "autoattack needs the package pyautoattack"),
    ("square", "eval", "autoattack needs the package pyautoattack"),
    ("train, then autoattack", "eval", "autoattack needs the package pyautoattack"),
    ("export and square", "eval", "autoattack needs the package pyautoattack"),
    ("report html", "report", "The report needs the package altair"),
    ("export onnx", "export", "An export needs the package onnxscript"),
    ("hf model", "hub", "hf:me/mine is no folder here; fetching it needs the package huggingface_hub"),
    ("hf data", "hf", "hf:me/mine needs the package datasets"),
    ("push", "hub", "push needs the package huggingface_hub"),
    ("timm teacher", "timm", "A timm: model needs the package timm"),
    ("timm student", "timm", "A timm: model needs the package timm"),
    ("parquet", "parquet", "A .parquet file needs the package pyarrow"),
    ("wandb", "wandb", "The logger wandb needs the package wandb"),
    ("mlflow", "mlflow", "The logger mlflow needs the package mlflow"),
])  # fmt: skip
def test_a_missing_extra_is_one_sentence(said, step, extra, sentence):
    outcome = said["commands"][step]
    *before, last = outcome["err"].splitlines()
    assert last == f'advdistill: {sentence}; install it with: pip install "advdistill[{extra}]"'
    assert outcome["code"] == 2 and before in ([], ["examining 4 images"], ["making runs/own/model.onnx"])


def test_what_is_missing_is_said_before_anything_is_trained(said, tmp_path, without):
    assert set(said["runs"]) == {"own", "own.teacher"}
    without("altair")
    with pytest.raises(ImportError, match=r'^The quickstart needs .* altair; .* pip install "advdistill\[plot\]"$'):
        quickstart(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_tensorboard_a_run_has_its_figures_all_the_same(said):
    assert {"metrics.jsonl", "result.json", "best.safetensors"} <= set(said["files"]) - {"tensorboard"}
    assert "tensorboard" not in said["files"]


def test_the_python_that_ran_was_its_own(said):
    assert said["prefix"] != sys.prefix


def test_a_requirement_that_is_not_installed_is_an_error():
    with pytest.raises(PackageNotFoundError):
        closure(["no-such-package-of-anybody"])
