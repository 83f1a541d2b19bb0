"""Several real processes, over gloo, that `distill` starts itself; `test_every_method.py` has every method in two."""

import json
import subprocess
import sys

from conftest import ENV, ROOT
from in_processes import main
from training import assert_same_path

from advdistill import Run


def test_two_processes_follow_the_path_of_one(tmp_path):
    runs = {"run": {"method": "adaad+igdm"}}
    main(tmp_path / "one", 1, runs)
    command = [sys.executable, ROOT / "tests" / "in_processes.py", tmp_path / "two", "2", json.dumps(runs)]
    done = subprocess.run(command, env=ENV, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_same_path(Run(tmp_path / "one" / "run"), Run(tmp_path / "two" / "run"))
