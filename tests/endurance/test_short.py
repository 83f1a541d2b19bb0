"""A few accidents of `long.py`, in a separate process that may fork."""

import subprocess
import sys
from pathlib import Path

from children import PATIENCE
from conftest import ENV


def test_no_accident_loses_work():
    command = [sys.executable, Path(__file__).with_name("long.py"), "--kills", "7"]  # a run has three at most
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    happened, said, runs, same, lost = done.stdout.split("| all |")[1].split("|")[:5]
    assert int(happened) >= 7 and int(runs) == int(same) >= 3 and int(lost) == 0
