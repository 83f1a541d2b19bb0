"""An old Python or torch, a missing package, an unwritable home, no network: each gives a one-sentence error."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from children import PATIENCE
from conftest import ADVDISTILL, ENV, ROOT

from advdistill import data, models
from advdistill._internal.cache import cache, writable
from advdistill._internal.messages import check_hugging_face
from advdistill.cli import main
from advdistill.models import teachers

CLOSED = "http://127.0.0.1:9"
PROXIES = [name for proxy in ("http_proxy", "https_proxy") for name in (proxy, proxy.upper())]
WRN = "robustbench:Wang2023Better_WRN-28-10"


def said(*command, path):
    """Return the stderr of a command that must fail; `path` comes first on Python's import path."""
    env = ENV | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode not in (0, -9)
    return done.stderr


@pytest.fixture
def old_torch(tmp_path):
    info = tmp_path / "torch-2.5.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\n")
    return tmp_path


@pytest.fixture
def old_python(tmp_path):
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.version_info = (3, 10, 4, "final", 0)\n')
    return tmp_path


@pytest.fixture
def no_home(tmp_path, monkeypatch):
    """Set HOME to a path below a file: not even root can write there."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    for name in ("ADVDISTILL_DATA", "ADVDISTILL_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "file" / "home" / ".cache" / "advdistill"


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Send every request to a port on which nobody listens; the caches are empty."""
    for name in PROXIES:
        monkeypatch.setenv(name, CLOSED)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # the opener keeps the proxies of its first use
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path))
    monkeypatch.setenv("ADVDISTILL_MODELS", str(tmp_path))


TOO_OLD = 'torch 2.5.1 is too old, 2.9 or newer is needed; type: pip install "torch>=2.9"\n'


def test_an_old_torch(old_torch):
    assert said(*ADVDISTILL, "list", "recipes", path=old_torch) == f"advdistill: {TOO_OLD}"
    assert said(sys.executable, "-c", "import advdistill; advdistill.PGD", path=old_torch).endswith(
        f"ImportError: {TOO_OLD}"
    )


def test_an_old_python(old_python):
    sentence = "advdistill needs Python 3.11 or newer; this is Python 3.10.4."
    (line,) = said(*ADVDISTILL, "--version", path=old_python).splitlines()
    assert line.endswith(f"(ImportError: {sentence})")
    assert said(sys.executable, "-c", "import advdistill", path=old_python).endswith(f"ImportError: {sentence}\n")


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_says_so_is_read_by_old_ones(name):
    ast.parse((ROOT / "advdistill" / name).read_text(), feature_version=(3, 7))


def test_make_with_an_old_python(old_python, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (copy / name).write_text((ROOT / name).read_text())
    stderr = said("make", "-C", str(copy), "test", f"PYTHON={sys.executable}", path=old_python)
    assert stderr.splitlines()[0] == "advdistill needs Python 3.11 or newer: make PYTHON=..."
    assert "Traceback" not in stderr and not (copy / ".venv").exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_dataset_without_a_home(name, no_home):
    with pytest.raises(OSError, match=r"Not a directory; name a writable folder: export ADVDISTILL_DATA=FOLDER$"):
        data.load(name, "test")


def test_a_teacher_without_a_home(no_home, capsys, tmp_path):
    assert main(["evaluate", WRN, "--data", "digits", "--out", str(tmp_path / "r.json")]) == 2
    assert capsys.readouterr().err == (
        f"advdistill: Cannot write to {no_home}/models/cifar10/Linf: Not a directory; name a writable folder: "
        "export ADVDISTILL_MODELS=FOLDER\n"
    )


def test_a_teacher_that_is_there_needs_no_lock(monkeypatch, tmp_path):
    monkeypatch.setenv("ADVDISTILL_MODELS", str(tmp_path))
    teacher = teachers.find("Wang2023Better_WRN-28-10")
    path = tmp_path / "cifar10" / "Linf" / f"{teacher.name}.pt"
    path.parent.mkdir(parents=True)
    path.touch()
    assert teachers.fetch(teacher) == path and list(path.parent.iterdir()) == [path]


def test_a_user_who_has_no_home(monkeypatch):
    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ADVDISTILL_MODELS", raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    expected = "no home folder for the cache of models; name a folder: export ADVDISTILL_MODELS=FOLDER"
    with pytest.raises(ValueError, match=expected):
        cache("models")


def test_a_run_where_nothing_can_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    assert main(["train", "digits.pgd_at", "--epochs", "1", "--out", str(out)]) == 2
    sentence = f"advdistill: Cannot create the folder {out}: Not a directory; choose another folder.\n"
    assert capsys.readouterr().err.endswith(sentence)


def test_a_folder_that_can_be_written_is_left_empty(tmp_path):
    assert writable(tmp_path / "a" / "b", "data") == tmp_path / "a" / "b" and not list((tmp_path / "a" / "b").iterdir())


def test_hugging_face_without_a_home():
    error = PermissionError(errno.EACCES, "Permission denied", "/root/.cache/huggingface/token")
    with pytest.raises(OSError, match=r"cache, /root/\S+/token: Permission denied; .*: export HF_HOME=FOLDER$"):
        check_hugging_face(error)
    check_hugging_face(ConnectionError("no route"))  # not about the cache: left to the caller


@pytest.mark.parametrize(
    "name, address",
    [
        ("cifar10", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
        ("cifar100", "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"),
        ("svhn", "http://ufldl.stanford.edu/housenumbers/test_32x32.mat"),
    ],
)
def test_a_dataset_without_a_network(name, address, no_network, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # no npm either
    with pytest.raises(ConnectionError) as refused:
        data.load(name, "test")
    text = str(refused.value)
    assert text.startswith(f"{name}: the official site is not reachable (") and "Connection refused" in text
    assert text.endswith(
        f"Download {address} and give its folder: --data.folder FOLDER (train) or --folder FOLDER (evaluate)."
    )


def test_a_robustbench_teacher_without_a_network(no_network, tmp_path):
    with pytest.raises(FileNotFoundError) as refused:
        models.load(WRN)
    text, place = str(refused.value), tmp_path / "cifar10" / "Linf" / "Wang2023Better_WRN-28-10.pt"
    assert text.startswith(f"{WRN} is not here and cannot be downloaded (") and "Connection refused" in text
    assert f"and put it at {place}, or write {WRN}?file=PATH." in text


def test_hugging_face_without_a_network_and_without_a_home(tmp_path):
    """One process per case: the client keeps the paths and connections from when it was imported."""
    (tmp_path / "file").touch()
    code = "from advdistill.cli import main; raise SystemExit(main(['evaluate', 'hf:a/b', '--data', 'digits']))"
    env = ENV | dict.fromkeys(PROXIES, CLOSED) | {"NO_PROXY": "", "no_proxy": "", "HF_HUB_DISABLE_XET": "1"}
    for home, sentence in (
        ("home", "hf:a/b is not in the cache and cannot be fetched ("),
        ("file/home", f"Cannot write to Hugging Face's cache, {tmp_path}/file/home/"),
    ):
        places = {"HF_HOME": str(tmp_path / home), "HOME": str(tmp_path / home)}
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env | places, capture_output=True,
                              text=True, timeout=PATIENCE)  # fmt: skip
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(f"advdistill: {sentence}"), done.stderr
