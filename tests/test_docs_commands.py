"""What the documents type into a shell is understood, without being run."""

import re
import shlex
import sys

import pytest
from conftest import ROOT
from test_docs import DOCUMENTS, README, blocks, prose

from advdistill import cli, recipes


def typed(path):
    """What a document types, without what follows `advdistill`: in blocks and between backticks."""
    lines = "\n".join(text for shell in ("", "sh", "bash") for text in blocks(path, shell)).replace("\\\n", " ")
    given = re.findall(r"\badvdistill ([a-z-].*?)(?: [|>;&].*)?$", lines, re.M)
    given += re.findall(r"`advdistill ([a-z-][^`]*)`", prose(path))
    return [command for command in given if "..." not in command]


def words_of(command, recipe):
    """A command as the shell would split it, with values for its placeholders."""
    command = command.replace("RECIPE", "digits.rslad").replace("my_module:MyMethod", "my_module:Mine")
    words = shlex.split(re.sub(r"\$\w+", "1", command), comments=True)
    if len(words) == 1 and words != ["train"]:  # only mentioned; train has a default for everything
        words.append("--help")
    return [str(recipe) if word.endswith(".yaml") else word for word in words]


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    """The module that the documents name, in a file; it is no longer imported afterwards."""
    imports = "from dataclasses import dataclass\nimport advdistill as ad\nfrom advdistill.losses import kl\n"
    (tmp_path / "my_module.py").write_text(imports + blocks(README)[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    yield
    sys.modules.pop("my_module", None)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if typed(path)], ids=lambda p: p.name)
def test_commands_are_understood(path, my_module, tmp_path, monkeypatch, capsys):
    for command in set(cli.Command.__args__) - {cli.Train, cli.Preflight}:
        monkeypatch.setattr(command, "__call__", lambda self: 0)
    for module, name in ((cli.train, "train"), (cli.preflight, "preflight")):  # recipe and fields are read before
        monkeypatch.setattr(module, name, lambda recipe, options: 0)
    monkeypatch.setattr(cli, "forbid", lambda: None)  # for good, in this process
    monkeypatch.chdir(ROOT)
    recipes.load("digits.rslad").save(tmp_path / "recipe.yaml")
    for command in typed(path):
        try:
            code = cli.main(words_of(command, tmp_path / "recipe.yaml"))
        except SystemExit as left:  # of --help, and of tyro where it understands nothing
            code = left.code
        assert not code, f"advdistill {command}\n{''.join(capsys.readouterr())}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_scripts_and_targets_exist(path):
    text, targets = path.read_text(), re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert all((ROOT / script).exists() for script in re.findall(r"\bpython ([\w/]+\.py)", text))
    made = re.findall(r"^(?:\$ )?make (\w+)|`make (\w+)`", text, re.M)
    assert {line or inline for line, inline in made} <= set(targets)
