"""Tests of the package's types, as a type checker reads them in a user's script."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import advdistill

PACKAGE = Path(advdistill.__file__).parent
README_LOOP = re.search(r"```python\n(.*?)```", (PACKAGE.parent / "README.md").read_text(), re.S)[1]
MORE = """
from typing import assert_type
result = ad.evaluate(student, ad.data.load("digits", "test"), ad.Linf(0.2), suite="paper")
assert_type(result["clean"].accuracy, float)
assert_type(attack.step_size + attack.threat.eps, float)  # given as text
assert_type(ad.distill(ad.Recipe(), "out").recipe, ad.Recipe)
"""
# packages of others are skipped, which saves half a minute
SETTINGS = """
[mypy]
strict = True
[mypy-torch.*,numpy.*,lightning_fabric.*,safetensors.*,typeguard.*,yaml.*,filelock.*,rich.*,onnx.*,PIL.*]
follow_imports = skip
ignore_missing_imports = True
"""


def checked(folder: Path, script: str) -> list[str]:
    """Return mypy's errors in a user's script, which finds the package among the installed ones."""
    (folder / "script.py").write_text(script)
    (folder / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "script.py"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("user")  # one folder for all tests, so that they share mypy's cache


def test_the_loop_of_the_readme_is_typed(folder):
    assert checked(folder, README_LOOP + MORE) == []


@pytest.mark.parametrize(("wrong", "said"), [
    ('ad.distill(ad.Recipe(), "out", epohcs=3)', r'"epohcs" for "distill"  \[call-arg\]'),
    ("ad.Linf([8])", r'"list\[int\]"; expected "float \| str"  \[arg-type\]'),
    ("ad.RSLADD()", r'no attribute "RSLADD".*\[attr-defined\]'),
    ("ad.IGDM() + ad.RSLAD()", r'left operand type for \+ \("IGDM"\)  \[operator\]'),
])  # fmt: skip
def test_a_wrong_call_is_reported(folder, wrong, said):
    (error,) = checked(folder, f"import advdistill as ad\n{wrong}\n")
    assert error.startswith("script.py:2: ") and re.search(said, error)


@pytest.mark.parametrize("package", [advdistill, advdistill.methods])
def test_type_checkers_are_told_the_public_names(package):
    stub = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    (named,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    places = {alias.name: f"{node.module or ''}.{alias.name}" for node in imports for alias in node.names}
    assert {name: place.removeprefix(".") for name, place in places.items()} == package._PLACES
    assert sorted(ast.literal_eval(named)) == sorted(package._PLACES) == sorted(package.__all__)


def test_no_error_is_ignored_without_its_code_and_a_reason():
    lines = [line for path in PACKAGE.rglob("*.py") for line in path.read_text().splitlines() if "type: ignore" in line]
    assert [line for line in lines if not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)] == []
