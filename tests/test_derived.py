"""Tests that all lists of methods are derived from the registry, to which a new method adds one line."""

import json
import shutil
import subprocess
import sys

import pytest
from children import PATIENCE
from conftest import ENV, ROOT

COPIED = ["advdistill", "docs", "README.md", "mkdocs.yml"]
METHOD = '''from dataclasses import dataclass

from ..losses import kl
from .method import Batch, Losses, Method, Objective

__all__ = ["Toy"]


@dataclass
class Toy(Method):
    """A toy: RSLAD without its clean term.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x) || S(x'))
        min_S   KL(T(x) || S(x'))

    Reference: Nobody, A Toy. Nowhere 2026.
    """

    def inner(self, batch: Batch) -> Objective:
        soft = batch.teacher(batch.x)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        return {"adv": kl(batch.teacher(batch.x), batch.student(batch.x_adv))}
'''
PAGE = """---
climbs: KL(T(x) ‖ S(x'))
descends: KL(T(x) ‖ S(x')) alone
---

# Toy: `toy`
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and its documents that a test may change."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, tmp_path / name, ignore=ignore) if source.is_dir() else shutil.copy(source, tmp_path)
    return tmp_path


def run(*arguments, cwd=ROOT):
    command = [sys.executable, *map(str, arguments)]
    environment = ENV | {"PYTHONPATH": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_what_is_derived_is_up_to_date():
    done = run("docs/derive.py", "--check")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}is stale; run: make derive"


def test_a_method_is_its_file_one_line_and_its_page(copy):
    (copy / "advdistill" / "methods" / "toy.py").write_text(METHOD)
    registry = copy / "advdistill" / "methods" / "__init__.py"
    registry.write_text(registry.read_text().replace('    "igdm":', '    "toy": "toy.Toy",\n    "igdm":'))
    assert "docs/methods/toy.md is missing; docs/add_method.md shows how" in run("docs/derive.py", cwd=copy).stderr
    (copy / "docs" / "methods" / "toy.md").write_text(PAGE)

    checked = run("docs/derive.py", "--check", cwd=copy)
    written = run("docs/derive.py", cwd=copy)
    assert checked.returncode == 1 and written.returncode == 0, written.stderr
    files = ["advdistill/__init__.pyi", "advdistill/methods/__init__.pyi", "README.md", "docs/methods.md"]
    files += ["docs/api/index.md", "docs/api/methods.md", "mkdocs.yml"]
    assert checked.stdout.split() == written.stdout.split() == files
    assert run("docs/derive.py", "--check", cwd=copy).stdout == ""
    shown = [
        ("advdistill/__init__.pyi", "    Toy,\n"),
        ("advdistill/methods/__init__.pyi", "from .toy import Toy\n"),
        ("README.md", "| [`toy`](docs/methods/toy.md) | KL(T(x) ‖ S(x')) | KL(T(x) ‖ S(x')) alone | robust |\n"),
        ("docs/methods.md", "| A toy: RSLAD without its clean term. | robust | robust 1, student 11 |"),
        ("docs/api/index.md", "`ad.Toy`, `ad.IGDM`\n"),
        ("docs/api/methods.md", "::: advdistill.methods.toy.Toy\n"),
        ("mkdocs.yml", "          - toy: methods/toy.md\n"),
    ]
    for file, text in shown:
        assert (copy / file).read_text().count(text) == 1, file

    listed = run("-m", "advdistill", "list", "methods", "--json", cwd=copy)
    assert [row["teachers"] for row in json.loads(listed.stdout) if row["name"] == "toy"] == ["robust"]
    said = run("-c", "import advdistill as ad; print(ad.Toy() + ad.IGDM(), 'Toy' in ad.__all__, ad.__file__)", cwd=copy)
    assert "Toy()" in said.stdout and f"True {copy}" in said.stdout, said.stderr


def test_importing_the_package_and_the_registry_does_not_import_torch():
    done = run("-c", "import sys, advdistill; print(len(advdistill.methods.REGISTRY), 'torch' in sys.modules)")
    assert done.stdout == f"{len(json.loads(run('-m', 'advdistill', 'list', 'methods', '--json').stdout))} False\n"
