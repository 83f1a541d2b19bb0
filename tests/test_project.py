"""Tests of the project's other files: versions, licence, citation, the workflow."""

import ast
import importlib.util
import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from test_docs import PAGES, section

import advdistill
from advdistill import methods
from advdistill._internal import packages
from advdistill.cli import main
from advdistill.data.own.arrow import EXTRA

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
REFERENCE = re.compile(r"(.+)[.,] (\w+) (\d{4})(?:, arXiv:([\d.]+\d))?(?:, eq\..*)?\.")
DISTRIBUTIONS = {
    "PIL": "pillow", "sklearn": "scikit-learn", "vl_convert": "vl-convert-python",
    "markupsafe": "jinja2",
}  # fmt: skip


def test_the_version_has_one_home_and_is_the_same_everywhere():
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    released = re.findall(r"^## (\S+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert advdistill.__version__ == CITATION["version"] == released[0]
    assert (ROOT / "CHANGELOG.md").read_text().count("\n## Unreleased\n") == 1


def test_version_is_one_line_and_does_not_import_torch(capsys):
    assert main(["--version"]) == 0
    found = re.fullmatch(r"advdistill (\S+), torch (\S+), Python (3\.\d+\.\d+)\n", capsys.readouterr().out)
    assert found[1] == advdistill.__version__ and found[2].startswith("2.")


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_imports_what_exists(script):
    """Most benchmarks take minutes, and no test runs them."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            own = script.with_name(f"{node.module}.py")
            assert own.exists() or importlib.util.find_spec(node.module), node.module
            for name in [alias.name for alias in node.names] if own.exists() else []:
                assert re.search(rf"^(def |class )?{name}\b", own.read_text(), re.M), f"{node.module}.{name}"


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert all(f"\n   {number}. " in text for number in range(1, 10))


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md"])
def test_links_of_what_stands_beside_the_readme_lead_somewhere(name):
    text = (ROOT / name).read_text()
    assert "@" not in text  # no address is invented
    assert all((ROOT / target).exists() for target in re.findall(r"\]\((?!http)([^)#]+)", text))


def test_the_citation_has_what_its_format_asks_for():
    assert CITATION["cff-version"] == "1.2.0" and CITATION["license"] == PROJECT["license"]
    assert CITATION["message"] and CITATION["title"] == PROJECT["name"] and CITATION["authors"]
    for paper in CITATION["references"]:
        assert paper["type"] in ("conference-paper", "article") and paper["title"]
        assert all(set(author) <= {"family-names", "given-names"} or set(author) == {"name"}
                   for author in paper["authors"])  # fmt: skip


def test_the_citation_has_the_paper_of_each_method_as_its_page_says():
    cited = {name: paper for paper in CITATION["references"] for name in paper["notes"].split(", ")}
    pages = {path.stem: section(path.stem, "Reference") for path in PAGES.iterdir()}
    assert cited.keys() == {name for name, text in pages.items() if text != "none"}
    assert cited.keys() == set(methods.METHODS) - {"standard"}
    for name, paper in cited.items():
        who, venue, year, arxiv = REFERENCE.fullmatch(pages[name]).groups()
        assert paper["title"] in who or name == "saad"  # whose page has no title
        assert paper["year"] == int(year) and venue in (paper.get("journal") or paper["conference"]["name"])
        assert [known["value"] for known in paper.get("identifiers", [])] == ([f"arXiv:{arxiv}"] if arxiv else [])
        families = [author["family-names"] for author in paper["authors"] if "family-names" in author]
        assert all(family in pages[name] for family in families[:1])


def test_the_workflow_types_what_the_readme_does_on_each_python_of_the_classifiers():
    readme = (ROOT / "README.md").read_text()
    typed = [step["run"] for step in WORKFLOW["jobs"]["readme"]["steps"] if "run" in step]
    assert typed == re.findall(r"^make \w+", readme.split("```")[1], re.M) == ["make quickstart", "make test"]
    offered = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if "Python :: 3" in line]
    assert WORKFLOW["jobs"]["readme"]["strategy"]["matrix"]["python"] == offered
    assert PROJECT["requires-python"] == f">={offered[0]}"


def test_the_lowest_torch_is_the_same_everywhere_and_its_pin_can_be_replaced():
    lowest = ".".join(map(str, packages.OLDEST_TORCH))
    assert f"torch>={lowest}" in PROJECT["dependencies"]
    assert WORKFLOW["jobs"]["torch"]["strategy"]["matrix"]["torch"] == [f"=={lowest}.0", f">={lowest}"]
    assert len(re.findall(r"^torch==", (ROOT / "constraints.txt").read_text(), re.M)) == 1


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").iterdir()), ids=lambda path: path.stem)
def test_an_issue_template_is_a_form(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"] and form["description"] and len({part["id"] for part in form["body"]}) == len(form["body"])
    assert all(part["type"] in ("input", "textarea") and part["attributes"]["label"] for part in form["body"])


def wanted():
    """Yield file, module and extra of each `require(module, purpose, extra)` in the package."""
    for path in sorted((ROOT / "advdistill").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                module, _, extra = node.args
                if isinstance(module, ast.Constant):
                    yield path, module.value, extra.value if isinstance(extra, ast.Constant) else EXTRA


def test_the_extra_that_a_sentence_names_brings_the_package():
    found = list(wanted())
    assert len(found) >= 25
    for path, module, extra in found:
        top = module.split(".")[0]
        brought = {re.split(r"[\[>=<]", package)[0] for package in PROJECT["optional-dependencies"][extra]}
        assert DISTRIBUTIONS.get(top, top) in brought, f"{path}: {module} is not in {extra}"


def test_every_extra_that_a_message_names_exists():
    for path in sorted((ROOT / "advdistill").rglob("*.py")):
        for extra in re.findall(r'pip install "advdistill\[(\w+)\]"', path.read_text()):
            assert extra in PROJECT["optional-dependencies"], path


def test_a_logger_and_its_extra_have_one_name():
    for name, package in (("mlflow", "mlflow-skinny"), ("wandb", "wandb")):
        brought = {re.split(r"[\[>=<]", wanted)[0] for wanted in PROJECT["optional-dependencies"][name]}
        assert brought == {package, "pytorch-lightning"}
