"""The wheel as it would be published, unpacked away from the checkout."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from children import PATIENCE
from conftest import ENV, ROOT

import advdistill

SOURCES = ["advdistill", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"]
POINTER = re.compile(r"\b(?:docs|examples|benchmarks|tests|shared)/[\w./-]*\w|constraints\.txt|\bMakefile\b|\w+\.cff")


def run(*command, cwd, **env):
    done = subprocess.run(command, cwd=cwd, env=ENV | env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the source distribution, and the wheel that is built from it; without a network."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, copy / name, ignore=ignore) if source.is_dir() else shutil.copy(source, copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy, cwd=copy)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def user(installed, tmp_path_factory):
    """Return a function that runs Python with the wheel, in a working directory that has nothing of the checkout."""
    away = tmp_path_factory.mktemp("away")
    return lambda *arguments: run(sys.executable, *arguments, cwd=away, PYTHONPATH=str(installed))


def test_twine_finds_nothing(built):
    files = sorted(built.iterdir())
    version = advdistill.__version__
    assert [file.name for file in files] == [f"advdistill-{version}-py3-none-any.whl", f"advdistill-{version}.tar.gz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=built)


def test_it_has_every_file_of_the_package_and_the_licence(installed):
    def files(root):
        return {path.relative_to(root) for path in (root / "advdistill").rglob("*") if path.is_file()}

    assert files(installed) == {path for path in files(ROOT) if "__pycache__" not in path.parts}
    (notes,) = installed.glob("*.dist-info")
    assert (notes / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "advdistill = advdistill.cli:main" in (notes / "entry_points.txt").read_text()
    metadata = (notes / "METADATA").read_text()
    assert f"\nVersion: {advdistill.__version__}\n" in metadata and "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata


def test_each_file_that_it_points_to_is_in_it(installed):
    assert "docs/teachers.md" in POINTER.findall((ROOT / "README.md").read_text())  # an example of a pointer
    texts, here = (
        [path for path in (place / "advdistill").rglob("*.*") if path.suffix in (".py", ".html", ".js", ".css")]
        for place in (installed, ROOT)
    )
    assert len(texts) == len(here) > 100
    lost = [(path.name, name) for path in texts for name in POINTER.findall(path.read_text())]
    assert [(path, name) for path, name in lost if not (installed / name).exists()] == []


def test_its_commands_run(user, installed):
    assert user("-c", "import advdistill; print(advdistill.__file__)").strip().startswith(str(installed))
    assert user("-m", "advdistill", "--version").startswith(f"advdistill {advdistill.__version__}, torch ")
    shown = user("-m", "advdistill", "--help")
    assert "quickstart" in shown and "--version" in shown
    assert '"digits.rslad"' in user("-m", "advdistill", "list", "recipes", "--json")


def test_its_report_is_made_from_its_templates(user):
    cells = ROOT / "benchmarks" / "results" / "studies" / "digits_fair" / "results"
    result = str(cells / "rslad-seed0" / "result.json")
    made = f"from advdistill.cli import main; main(['report', {result!r}, '--out', 'one.html'])"
    page = user("-c", f"{made}; print(open('one.html').read())")
    assert "<title>" in page and 'id="provenance"' in page and "rslad-seed0" in page
