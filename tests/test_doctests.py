"""The examples in docstrings run and show what they say; the most used public names have one."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import advdistill

ROOT = Path(advdistill.__file__).parent
REQUIRED = 7  # public names that have an example; to be raised as examples are written
MODULES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text()
]


def public():
    """The classes and functions that the public names are, or that the public modules export, by name."""
    found = {}
    for name in advdistill.__all__:
        value = getattr(advdistill, name)
        inner = {f"{name}.{key}": getattr(value, key) for key in value.__all__} if inspect.ismodule(value) else {}
        found |= inner or {name: value}
    once = {id(value): name for name, value in reversed(found.items())}  # `RSLAD`, not `methods.RSLAD` as well
    return {name: found[name] for name in reversed(once.values()) if callable(found[name])}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted and not done.failed


def test_the_most_used_public_names_have_an_example():
    without = [name for name, value in public().items() if ">>> " not in (value.__doc__ or "")]
    count = len(public()) - len(without)
    assert count >= REQUIRED, f"{count} public names have an example, without one are: {', '.join(without)}"


@pytest.mark.parametrize("name", ["Distiller", "distill", "Recipe", "Data", "SGD", "Schedule", "Run"])
def test_the_first_names_that_a_user_meets_have_an_example(name):
    assert ">>> " in getattr(advdistill, name).__doc__
