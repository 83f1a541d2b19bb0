"""A result records the command as it was typed, whatever program ran it."""

import pytest

from advdistill.cli.console import typed


@pytest.mark.parametrize(("argv", "said"), [
    (["/usr/bin/advdistill", "evaluate", "a b"], "advdistill evaluate 'a b'"),
    (["/lib/advdistill/__main__.py", "evaluate", "run"], "advdistill evaluate run"),
    (["benchmarks/ship.py", "t.pt", "--n", "60"], "python benchmarks/ship.py t.pt --n 60"),
])  # fmt: skip
def test_the_command_is_the_one_that_was_typed(monkeypatch, argv, said):
    monkeypatch.setattr("sys.argv", argv)
    assert typed() == said
