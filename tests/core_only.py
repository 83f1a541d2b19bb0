"""Run commands in one process and save their output; test_core_only.py runs this in an environment without extras."""

import contextlib
import importlib.util
import io
import json
import re
import sys
import traceback
from pathlib import Path

import numpy as np

ASKED, SAID = map(Path, sys.argv[1:])
asked, said = json.loads(ASKED.read_text()), {"commands": {}, "prefix": sys.prefix}


def run(step: str, *words) -> None:
    """Run a command in this process, as `advdistill` would."""
    from advdistill.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit:
            code = exit.code or 0
        except BaseException:
            code = traceback.print_exc()
    said["commands"][step] = {"code": code, "out": out.getvalue(), "err": err.getvalue()}


said["asked"] = asked["modules"]
said["importable"] = [name for name in asked["modules"] if importlib.util.find_spec(name)]

names = {}
exec(re.search(r"```python\n(import torch\n.*?)```", Path("README.md").read_text(), re.S)[1], names)
said["loss"] = names["loss"].item()

# The user's own images: two classes that are easy to tell apart, dark and light.
rng = np.random.default_rng(0)
labels = np.arange(160) % 2
images = (rng.integers(0, 100, (160, 8, 8, 1)) + 150 * labels[:, None, None, None]).astype(np.uint8)
np.savez("own.npz", x_train=images[:128], y_train=labels[:128], x_test=images[128:], y_test=labels[128:])
Path("pictures").mkdir()
for i in range(4):
    (Path("pictures") / "ab"[i % 2]).mkdir(exist_ok=True)
    (Path("pictures") / "ab"[i % 2] / f"{i}.png").write_bytes(b"\x89PNG" + bytes([i]))
Path("own.parquet").write_bytes(b"PAR1")

SHORT = ("--epochs", 12, "--batch-size", 32, "--attack.steps", 2)
for command in asked["commands"]:
    run(f"{command} --help", command, "--help")
run("list recipes", "list", "recipes")
run("list datasets", "list", "datasets")
run("init", "init", "own.npz")
run("train teacher", "train", "own.teacher.yaml", *SHORT, "--student", "convnet-4", "--out", "runs/own.teacher")
run("preflight", "preflight", "own.yaml")
run("train", "train", "own.yaml", *SHORT, "--student", "convnet-4", "--out", "runs/own")
run("evaluate", "evaluate", "runs/own", "--suite", "clean,fgsm,pgd-20", "--keep-images")
run("verify", "verify", "runs/own")
run("compare", "compare", "runs/own", "runs/own.teacher")
run("status", "status", "runs/own")
run("report md", "report", "runs/own", "--out", "table.md")
run("export safetensors", "export", "runs/own", "--to", "safetensors", "--queries", 0, "--n", 8)
run("push folder", "push", "runs/own", "--to", "shared")

run("digits", "train", "digits.pgd_at")
run("quickstart", "quickstart")
run("own pictures", "init", "pictures", "--out", "pictures.yaml")
run("autoattack", "evaluate", "runs/own", "--suite", "autoattack")
run("square", "evaluate", "runs/own", "--suite", "square-100")
run("train, then autoattack", "train", "own.teacher.yaml", "--suite", "full", "--out", "runs/full")
run("report html", "report", "runs/own", "--out", "page.html")
run("export onnx", "export", "runs/own", "--to", "onnx", "--queries", 0)
run("export and square", "export", "runs/own", "--to", "onnx")
run("hf model", "evaluate", "hf:me/mine", "--data", "own.npz")
run("hf data", "init", "hf:me/mine", "--out", "hub.yaml")
run("push", "push", "runs/own", "--to", "hf:me/mine")
run("timm teacher", "evaluate", "timm:resnet18?pretrained=true", "--data", "own.npz")
run("timm student", "train", "own.teacher.yaml", "--student", "timm:resnet18", "--out", "runs/timm")
run("parquet", "init", "own.parquet", "--out", "table.yaml")
for logger in ("wandb", "mlflow"):
    run(logger, "train", "own.teacher.yaml", "--loggers", logger, "--out", f"runs/{logger}")

def weights(reference: str) -> bytes:
    from advdistill import models

    return b"".join(tensor.numpy().tobytes() for tensor in models.load(reference).state_dict().values())


result = json.loads(Path("runs/own/result.json").read_text())
said["accuracies"] = {measured["attack"]: measured["correct"] / measured["n"] for measured in result["measurements"]}
said["table"] = Path("table.md").read_text()
said["loaded_back"] = weights("hf:shared") == weights("runs/own")
said["runs"] = [folder.name for folder in Path("runs").iterdir()]
said["files"] = [file.name for file in Path("runs/own").glob("*")]
SAID.write_text(json.dumps(said))
