import numpy as np
import pytest
import torch
from conftest import linear
from safetensors.torch import load_file

from advdistill import data, evaluate
from advdistill.data.batches import to_float
from advdistill.results.files import AdversarialImages
from advdistill.threat import Linf

TEST, THREAT = data.load("digits", "test").first(50), Linf(0.1)
X, Y = to_float(TEST.images), TEST.labels


@pytest.mark.parametrize("attack", ["cw-30", "square-100"])
def test_the_image_of_every_counted_break_is_kept(attack, tmp_path, blocks):
    blocks(20)
    model = linear(X, Y % 9, 10)
    result = evaluate(model, TEST, THREAT, f"clean,{attack}", batch_size=20, keep_images=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{attack}.{i:06d}.safetensors" for i in (0, 20, 40)]
    kept = [load_file(file) for file in sorted(tmp_path.iterdir())]
    index, x_adv = (torch.cat([one[name] for one in kept]) for name in ("index", "x_adv"))
    assert len(index) == len(index.unique()) == result["clean"].correct - result[attack].correct > 0
    assert (model(X[index]).argmax(1) == Y[index]).all() and (model(x_adv).argmax(1) != Y[index]).all()
    assert (x_adv - X[index]).abs().max() <= THREAT.eps + 1e-6 and x_adv.dtype == torch.float32


def test_fresh_files_take_the_place_of_older_ones_of_the_same_attack(tmp_path):
    broken = np.array([True, False])
    for folder, attack, start in (("old", "cw-30", 2), ("old", "fgsm", 0), ("new", "cw-30", 4)):
        AdversarialImages(tmp_path / folder).put(attack, start, np.zeros((2, 1, 1, 1), np.float32), broken)
    AdversarialImages(tmp_path / "new").copy_to(tmp_path / "old", "cw-30", keep=False)
    names = sorted(file.name for file in (tmp_path / "old").iterdir())
    assert names == ["cw-30.000004.safetensors", "fgsm.000000.safetensors"]
    assert load_file(tmp_path / "old" / names[0])["index"].tolist() == [4]
