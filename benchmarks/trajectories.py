"""Train every method for twenty steps in two checkouts, fp32, CPU: `trajectories.py OTHER`. Exit 1 if a bit differs.

Only public names are used, so the internals of the checkouts may differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

HERE = Path(__file__).parents[1]


def trajectories(folder: Path) -> None:
    """Train every method with the imported package; print the sha256 of the weights and the losses of each epoch."""
    import hashlib

    import torch
    from safetensors.torch import load_file

    import advdistill as ad

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    teacher, clean = folder / "teacher.safetensors", folder / "clean.safetensors"
    for path in (teacher, clean):
        ad.models.save(ad.models.create("convnet-8", 10, 1), path)
    names = [row["name"] for row in ad.methods.describe()]
    methods = [name for name in names if not name.startswith("+")]
    methods += [f"{name}+igdm" for name in methods if name not in ("standard", "saad")]
    found = {}
    for name in methods:
        recipe = ad.Recipe(
            method=ad.methods.build(name), student="convnet-4", teacher=str(teacher), clean_teacher=str(clean),
            data=ad.Data("digits", validation=0.05, train_images=320, augment="shift"),
            attack=ad.PGD(2, 0.1, ad.Linf(0.2)), epochs=2, batch_size=32,
        )  # fmt: skip
        run = ad.distill(recipe, folder / name, accelerator="cpu")
        weights = load_file(run.last)
        digest = hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest()
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        losses = [{key: value for key, value in row.items() if key.startswith("loss/")} for row in rows]
        found[name] = {"steps": rows[-1]["step"], "weights": digest, "losses": losses}
    print(json.dumps(found))


def of(checkout: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, Path(__file__).resolve(), "--train", folder]
        env = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main(other: Path) -> int:
    ours, theirs = of(HERE), of(other)
    different = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    for name in different:
        print(f"{name}: {ours.get(name)} here, {theirs.get(name)} there")
    steps = {one["steps"] for one in ours.values()}
    print(f"{len(ours) - len(different)} of {len(ours)} methods the same bit for bit after {steps} steps")
    return int(bool(different))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.exit(trajectories(given.train) if given.train else main(given.other))
