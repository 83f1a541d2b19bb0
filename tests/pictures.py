"""Image files and tables that the tests use as a user's own data."""

import io
import json

import numpy as np
import pyarrow
from PIL import Image
from pyarrow.parquet import write_table

RNG = np.random.RandomState(0)


def pixels(*shape):
    return RNG.randint(0, 256, shape).astype(np.uint8)


def save(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(8, 8, 3) if image is None else image).save(path)


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def same(split, images, labels):
    """Whether a split holds these images `[N, H, W, 3]` and labels, in any order."""
    mine = sorted((bytes(image.permute(1, 2, 0).contiguous().numpy()), int(y))
                  for image, y in zip(split.images, split.labels, strict=True))  # fmt: skip
    return mine == sorted((image.tobytes(), int(y)) for image, y in zip(images, labels, strict=True))


def make_parted(tmp_path):
    """Write `DIR/train` and `DIR/test`, each with two classes; return DIR."""
    home = tmp_path / "parted"
    for part, n in (("train", 3), ("test", 2)):
        for name in ("a", "b"):
            for i in range(n):
                save(home / part / name / f"{i}.png")
    return home


def parquet(path, images, labels, names=None, plain=False):
    cells = images if plain else [{"bytes": image, "path": "x.png"} for image in images]
    table = pyarrow.table({"image": cells, "label": labels, "note": ["-"] * len(labels)})
    if names:
        about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(exist_ok=True)
    write_table(table, path)
