from dataclasses import replace

import numpy as np
import pytest

from advdistill.results.inspection import Example, Inspection, Network, Prediction
from advdistill.results.result import Measurement


def made() -> Inspection:
    rng = np.random.default_rng(0)
    picture = lambda: rng.random((1, 4, 4), np.float32)  # noqa: E731
    curve = {eps: Measurement("pgd-20", f"PGD-20 {eps}", 4, 3 - i, 0.5) for i, eps in enumerate((0.0, 0.1))}
    network = Network(curve, {"clean": [(2, 1), (2, 2)], "pgd-20": [(2, 0), (2, 1)]}, {"clean": 0.25}, 0.125)
    unknown = replace(network, remainder=None)
    predictions = {name: Prediction("a", "b", picture(), picture()) for name in ("student", "teacher")}
    examples = (Example(picture(), "a", predictions), Example(picture(), "b", predictions))
    return Inspection(
        "0123456789ab", "digits/test", "ba9876543210", "Linf 0.1", 0.1, 4, 0, "PGD-20", ("a", "b"),
        {"student": network, "teacher": unknown}, {"cross_entropy": (0.5, 0.25)}, {"uniform": 1.5}, examples,
    )  # fmt: skip


def test_what_is_saved_comes_back(tmp_path):
    made().save(tmp_path / "i.safetensors")
    back, there = Inspection.load(tmp_path / "i.safetensors"), made()
    same = [name for name in vars(there) if name != "examples"]
    assert [getattr(back, name) for name in same] == [getattr(there, name) for name in same]
    for one, other in zip(back.examples, there.examples, strict=True):
        assert one.label == other.label and np.array_equal(one.clean, other.clean)
        for name, prediction in other.predictions.items():
            assert (one.predictions[name].before, one.predictions[name].after) == (prediction.before, prediction.after)
            assert np.array_equal(one.predictions[name].x_adv, prediction.x_adv)
            assert np.array_equal(one.predictions[name].gradient, prediction.gradient)


@pytest.mark.parametrize("damage", ["cut", "other", "field"])
def test_damage_is_explained(tmp_path, damage):
    file = tmp_path / "i.safetensors"
    made().save(file)
    whole = file.read_bytes()
    other = {"cut": whole[:300], "other": b"{}", "field": whole.replace(b'\\"n\\": 4,', b'\\"n\\":"4",')}[damage]
    assert other != whole
    file.write_bytes(other)
    with pytest.raises(ValueError, match="is damaged or not an inspection"):
        Inspection.load(file)
