"""Go from a folder of PNG files to an exported file, with the commands that a user types; the files: Fashion-MNIST.

    python benchmarks/own_images.py --classes 3 --per-class 300 --epochs 3

Without Fashion-MNIST's files, scikit-learn's digits are used.
"""

import time
from pathlib import Path

import tyro

from advdistill import data
from advdistill.cli import main as advdistill
from advdistill.data import Split


def main(
    classes: int = 10, per_class: int = 300, epochs: int = 3, folder: str | None = None, out: Path = Path("runs/own")
) -> None:
    """Args: classes: number of classes; per_class: training images per class; folder: Fashion-MNIST's files."""
    images = out / f"images-{classes}"
    if not images.exists():
        for split in ("train", "test"):
            write(source(split, folder), images / split, classes, per_class if split == "train" else per_class // 3)
    recipe, student, teacher = (out / f"own-{classes}{ending}" for ending in (".yaml", "", ".teacher"))
    if not recipe.exists():
        run("init", images, "--out", recipe)
    run("train", recipe.with_suffix(".teacher.yaml"), "--epochs", epochs, "--suite", None, "--out", teacher)
    run("train", recipe, "--teacher", teacher, "--epochs", epochs, "--out", student)
    run("export", student, "--to", "onnx-int8", "--n", 300)


def source(split: str, folder: str | None) -> Split:
    try:
        return data.load("fashion_mnist", split, folder)
    except ValueError as error:
        print(f"{error} Using digits instead.")
        return data.load("digits", split)


def write(split: Split, folder: Path, classes: int, per_class: int) -> None:
    """Write the first images of each class as PNG files."""
    from PIL import Image

    for label, name in enumerate(split.classes[:classes]):
        home = folder / name.replace("/", "-")
        home.mkdir(parents=True)
        for i, image in enumerate(split.images[split.labels == label][:per_class]):
            Image.fromarray(image[0].numpy()).save(home / f"{i}.png")


def run(*arguments) -> None:
    began = time.monotonic()
    if code := advdistill([str(argument) for argument in arguments]):
        raise SystemExit(code)
    print(f"advdistill {' '.join(map(str, arguments))}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    tyro.cli(main)
