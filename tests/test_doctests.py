"""Docstring examples run and give the output they show; public functions document arguments, results and errors."""

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import advdistill

ROOT = Path(advdistill.__file__).parent
MODULES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text()
]
WITH_EXAMPLE = (  # most used first, as counted in documents, examples and tests
    *("data.load", "models.load", "recipes.load", "Linf", "models.save", "evaluate", "models.create", "Distiller"),
    *("distill", "PGD", "losses.kl", "RSLAD", "Batch", "losses.cross_entropy", "AdaAD", "L2", "data.Split", "IGDM"),
    *("Run", "Schedule", "ARD", "Data", "Recipe", "PGDAT", "TRADES", "SGD", "Result", "Method", "losses.margin"),
    *("losses.probabilities", "threat.parse", "threat.pixels", "threat.show_pixels", "models.ModelSpec"),
    *("models.names", "models.describe", "data.names", "data.collect", "data.describe", "recipes.names"),
    *("recipes.describe", "methods.build", "methods.describe", "methods.from_config", "methods.to_config"),
    *("evaluation.gradient_alignment", "evaluation.robust_curve", "evaluation.metrics.w_robust"),
    *("evaluation.metrics.nrr", "evaluation.metrics.by_class", "results.result.wilson", "attacks.suites.attacks"),
)
PUBLIC = (  # modules whose functions are documented in full
    *("losses", "threat", "models", "data", "evaluation", "methods", "recipes", "attacks.base", "attacks.suites"),
    *("evaluation.gradients", "evaluation.metrics", "results.result", "results.metrics"),
)


def attribute(name):
    """Return the object with this dotted name below advdistill."""
    module, _, last = f"advdistill.{name}".rpartition(".")
    return getattr(importlib.import_module(module), last)


def functions():
    """The functions of the top level and of the public modules, by dotted name."""
    modules = {"": advdistill} | {f"{name}.": importlib.import_module(f"advdistill.{name}") for name in PUBLIC}
    return {
        prefix + name: value
        for prefix, module in modules.items()
        for name in getattr(module, "__all__", ())
        if inspect.isfunction(value := getattr(module, name))
    }


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted and not done.failed


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_most_used_public_names_have_an_example(name):
    assert ">>> " in (attribute(name).__doc__ or "")


@pytest.mark.parametrize("name", functions())
def test_a_public_function_says_what_it_takes_gives_and_raises(name):
    function = functions()[name]
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    raises = re.search(r"^\s*raise ", inspect.getsource(function), re.M)
    assert "\nArgs:\n" in text or not signature.parameters
    assert "\nReturns:\n" in text or signature.return_annotation in (None, "None", Iterator[None])
    assert "\nRaises:\n" in text or not raises
