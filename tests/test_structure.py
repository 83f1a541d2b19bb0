"""The package agrees with docs/design.md: imports point one way, and the names in its walks exist."""

import ast
import re
from pathlib import Path

import advdistill

ROOT = Path(advdistill.__file__).parent
LAYERS = [  # from the ground up; a layer imports from those before it
    {"_internal"},
    {"losses", "threat", "results", "acceleration", "optimizers"},
    {"attacks"},
    {"methods", "models", "data"},
    {"distiller", "config", "report"},
    {"recipe"},
    {"evaluation", "run"},
    {"train", "recipes"},
    {"export", "preflight", "quickstart", "study"},
    {"cli"},
]
NO_METHODS = ("__init__.py", "batch.py", "cost.py", "crafting.py", "labels.py", "memo.py", "memory.py", "method.py")
NO_METHODS += ("networks.py", "registry.py", "replay.py", "roles.py")
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}


def imported(path: Path) -> set[str]:
    """The top-level modules of advdistill that a file imports."""
    depth = len(path.relative_to(ROOT).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found - {"__version__"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if name not in ("__init__", "__main__"):
            yield name, path


def test_imports_point_down():
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for name, path in modules()
        for other in imported(path) - {name}
        if LEVEL[other] >= LEVEL[name]
    ]
    assert wrong == []


def test_a_method_file_can_be_pasted_elsewhere():
    for path in (ROOT / "methods").glob("*.py"):
        if path.name not in NO_METHODS:
            assert imported(path) <= {"losses"}, path
            assert not re.search(r"^from \.(batch|registry)", path.read_text(), re.M), path


def test_reports_and_results_do_without_torch():
    for path in [*(ROOT / "results").glob("*.py"), *(ROOT / "report").glob("*.py")]:
        assert "import torch" not in path.read_text() and "from torch" not in path.read_text()
        assert imported(path) <= {"_internal", "results"} | {path.parent.name}


def test_every_folder_is_a_package_that_an_installation_takes_along():
    assert all((path.parent / "__init__.py").exists() for _, path in modules())


def defined(path: Path) -> set[str]:
    """Classes and functions of a file, and the methods as `Class.method`."""
    kinds = ast.ClassDef | ast.FunctionDef
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, kinds)]
    inner = [(one.name, node.name) for one in top for node in one.body if isinstance(node, kinds)]
    return {node.name for node in top} | {".".join(pair) for pair in inner}


def test_the_walks_name_what_exists():
    text = (ROOT.parent / "docs" / "design.md").read_text()
    steps = re.findall(r"^\d+\. .*$", text.split("## Four walks\n")[1].split("\n## ")[0], re.M)
    named = [re.findall(r"`([\w/]+\.py):([\w.]+)`", step) for step in steps]
    assert len(steps) > 20 and all(named), "every step names a file and what is in it"
    wrong = [f"{file}:{name}" for step in named for file, name in step if name not in defined(ROOT / file)]
    assert wrong == []


def test_files_stay_small():
    longest = max(len(path.read_text().splitlines()) for _, path in modules())
    assert longest <= 250


def test_foreign_files_are_never_unpickled():
    for _, path in modules():
        text = path.read_text()
        assert "weights_only=False" not in text and "eval(" not in text.replace(".eval(", "").replace("_eval(", "")
        assert text.count("torch.load(") == text.count("weights_only=True"), path
