"""What the documents show is run."""

import re
import subprocess
import sys

import pytest
from conftest import ENV, ROOT

import advdistill
from advdistill import methods, recipes


def blocks(path, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.S)


def test_the_readmes_loop_runs():
    exec(blocks(ROOT / "README.md")[0], {})


def test_the_example_runs(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "own_method.py")]
    done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "pgd-20: " in done.stdout, done.stderr


def test_the_readme_is_short_and_knows_every_method():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for name, kind in methods.METHODS.items():
        assert f"`{name}`" in text or f"`+{name}`" in text, kind


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_commands_name_recipes_and_links_lead_somewhere(path):
    text = path.read_text()
    for name in re.findall(r"advdistill train ((?:digits|cifar10)\.\w+)", text):
        recipes.load(name)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target


def test_public_names_exist():
    for name in advdistill.__all__:
        assert getattr(advdistill, name) is not None and name in dir(advdistill)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        advdistill.nothing  # noqa: B018


def test_public_functions_are_functions_after_everything_is_imported():
    import advdistill.commands  # noqa: F401

    assert callable(advdistill.evaluate) and callable(advdistill.distill)
