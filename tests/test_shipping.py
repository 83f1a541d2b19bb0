"""Tests of `advdistill export`: a file computes what its network does, and its own robust accuracy is measured."""

import itertools
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file
from test_frozen import Tied

from advdistill import Linf, Result, cli, data, models
from advdistill.attacks.pgd import PGD
from advdistill.data.batches import to_float
from advdistill.evaluation.context import Context
from advdistill.export import KINDS, NOT_MEASURED, artefact, build, open_file, write
from advdistill.export.artefact import Parity, compare_logits
from advdistill.export.robustness import measure_under_attack
from advdistill.export.runtime import OPERATORS, Opened, Twin
from advdistill.losses import cross_entropy
from advdistill.models.price import latency

TEST = data.load("digits", "test").first(64)
X, Y, THREAT = to_float(TEST.images), TEST.labels, Linf(0.1)
CALIBRATION = to_float(data.load("digits", "train").images[:128])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, teacher):
    """A folder with a trained teacher.safetensors, which normalises its images."""
    folder = tmp_path_factory.mktemp("ship")
    network = models.load(teacher, mean=[0.1], std=[0.5])
    models.save(network, folder / "teacher.safetensors", {"chosen": "by nobody"})
    return folder


@pytest.fixture(scope="module")
def network(folder):
    return models.load(folder / "teacher.safetensors").requires_grad_(False)


@pytest.fixture(scope="module")
def made(network):
    """An artefact of each kind."""
    return {kind: build(kind, network, TEST.shape, CALIBRATION) for kind in KINDS}


@pytest.fixture(scope="module")
def int8(made):
    return made["onnx-int8"]


def export(folder, *arguments, source="teacher.safetensors"):
    options = ["--data", "digits", "--eps", "0.1", "--n", "64", "--queries", "20"]
    return cli.main(["export", str(folder / source), *options, *map(str, arguments)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_networks_logits_for_any_batch(kind, made, network, tmp_path):
    path = tmp_path / f"file{KINDS[kind].ending}"
    write(made[kind], {"source": "here"}, path, network, X)
    opened = open_file(kind, path)
    tolerance = {"onnx-fp16": 0.02, "onnx-int8": 0.5}.get(kind, 1e-4)
    for images in (X[:1], X[:5]):
        torch.testing.assert_close(opened(images), network(images), rtol=0, atol=tolerance)


def test_a_network_whose_batch_norm_cannot_be_folded_is_exported_with_it(tmp_path):
    torch.manual_seed(0)
    network, images = Tied(), torch.rand(5, 3, 8, 8)
    network(images)  # moves its statistics
    for kind in ("onnx", "torch-export"):
        path = tmp_path / f"file{KINDS[kind].ending}"
        write(build(kind, network.eval(), (3, 8, 8), images), {}, path, network, images)
        torch.testing.assert_close(open_file(kind, path)(images), network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["onnx", "onnx-fp16", "onnx-int8"])
def test_an_onnx_file_is_sound_and_its_ends_are_as_promised(kind, made, network, tmp_path):
    write(made[kind], {"source": "here"}, tmp_path / "file.onnx", network, X)
    model = onnx.load(tmp_path / "file.onnx")
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(str(tmp_path / "file.onnx"), providers=["CPUExecutionProvider"])
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(float)", ["batch", 1, 8, 8])
    assert (logits.name, logits.type, logits.shape[1]) == ("logits", "tensor(float)", 10)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18
    assert {p.key: p.value for p in model.metadata_props} == {"advdistill.source": "here"}
    assert b"/advdistill/" not in model.SerializeToString()  # no paths of this machine
    weights = {t.data_type for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] > 1}
    assert weights == {{"onnx": 1, "onnx-fp16": 10, "onnx-int8": 3}[kind]}


def test_residual_and_pre_activation_networks_become_twins_of_themselves():
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name in ("resnet8", "dm_wide_resnet-10-1"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = models.create(name, 10, 3, (0.5,) * 3, (0.25,) * 3).eval()
        twin = Twin(build("onnx", network, (3, 32, 32), images).graph)
        assert compare_logits(network, twin, images).relative < 1e-4, name


def test_the_twin_of_an_int8_file_computes_what_the_file_does(int8, network, tmp_path):
    write(int8, {}, tmp_path / "file.onnx", network, X)
    file, twin = open_file("onnx-int8", tmp_path / "file.onnx"), Twin(int8.graph)
    followed, drifted = compare_logits(file, twin, X), compare_logits(file, network, X)
    assert followed.agree == len(X) and followed.relative < 0.02
    assert (file(X) - twin(X)).abs().mean() < 0.3 * (file(X) - network(X)).abs().mean()
    assert drifted.largest > 0.01


def test_gradients_of_the_twin_attack_the_file(int8, network, tmp_path):
    write(int8, {}, tmp_path / "file.onnx", network, X)
    file, twin = open_file("onnx-int8", tmp_path / "file.onnx"), Twin(int8.graph)
    x_adv = PGD(10, 0.025, THREAT, "none")(lambda x: cross_entropy(twin(x), Y), X)
    assert (file(x_adv).argmax(1) == Y).sum() < (file(X).argmax(1) == Y).sum() - 20


def test_rounding_passes_gradients_and_clipping_stops_them():
    x = torch.tensor([-1.0, 0.26, 0.5, 9.0], requires_grad=True)
    scale, zero = torch.tensor(0.1), torch.tensor(5, dtype=torch.uint8)
    q = OPERATORS["QuantizeLinear"]({}, x, scale, zero)
    assert q.tolist() == [0, 8, 10, 95]
    values = OPERATORS["DequantizeLinear"]({}, q, scale, zero)
    torch.testing.assert_close(values.detach(), torch.tensor([-0.5, 0.3, 0.5, 9.0]))
    (gradient,) = torch.autograd.grad(values.sum(), x)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 1, 1, 1]))


def test_quantisation_by_channel_is_onnxs():
    weights, scales = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.2, 0.4])
    q = OPERATORS["QuantizeLinear"]({"axis": 0}, weights, scales, torch.zeros(3, dtype=torch.int8))
    expected = (weights / scales.view(3, 1, 1, 1)).round().clamp(-128, 127)
    assert torch.equal(q, expected)


def test_an_image_stands_only_if_every_attack_left_it():
    """A file that decides by whether the first pixel is above 0.5, attacked by networks with gradients on one side."""

    class OneSide(torch.nn.Module):
        def __init__(self, side):
            super().__init__()
            self.side = torch.nn.Parameter(torch.tensor(float(side)))

        def forward(self, x):
            moved = self.side * (self.side * (x[:, 0, 0, 0] - 0.5)).relu()
            return torch.stack([-moved, moved], 1)

    pixels = torch.tensor([120, 135], dtype=torch.uint8).repeat(4).view(8, 1, 1, 1).expand(8, 1, 2, 2)
    split = data.Split(pixels, torch.tensor([0, 1] * 4), ("a", "b"), "t/test")
    file = Opened(lambda x: torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1).detach())
    gradient_networks = {"above-": OneSide(1), "below-": OneSide(-1)}
    measured = measure_under_attack(Context(file, split, THREAT), gradient_networks, identity="x", n=8, queries=0)
    found = {m.attack: m.correct for m in measured}
    assert (found["clean"], found["above-cw-30"], found["below-cw-30"], found["worst-case"]) == (8, 4, 4, 0)


def test_an_image_that_is_wrong_when_clean_stands_under_nothing():
    """A file as above; the attacked network swaps the classes, so that its gradients lead x' to the label."""

    class Swapped(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0, 0, 0] - 0.5, 0.5 - x[:, 0, 0, 0]], 1)

    dark = torch.full((2, 1, 2, 2), 120, dtype=torch.uint8)
    split = data.Split(dark, torch.tensor([1, 0]), ("a", "b"), "t/test")
    file = Opened(lambda x: torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1).detach())
    found = measure_under_attack(Context(file, split, THREAT), {"transfer-": Swapped()}, identity="x", n=2, queries=0)
    assert {m.attack: m.correct for m in found} == {
        "clean": 1, "transfer-pgd-20": 1, "transfer-cw-30": 1, "worst-case": 1,
    }  # fmt: skip  # wrong when clean is wrong under an attack too, since x is an admissible x'


def test_an_interrupted_measurement_goes_on_where_it_was(network, tmp_path):
    class Stopped(Exception):
        pass

    def stop(line):
        if line.startswith("a-pgd-20:"):
            raise Stopped

    context, options = Context(network, TEST, THREAT, batch_size=32), {"n": 64, "queries": 0, "keep": tmp_path / "v"}
    whole = measure_under_attack(context, {"a-": network}, identity="x", n=64, queries=0)
    with pytest.raises(Stopped):
        measure_under_attack(replace(context, report=stop), {"a-": network}, identity="x", **options)
    kept = load_file(tmp_path / "v")["a-pgd-20.seconds"]
    again = measure_under_attack(context, {"a-": network}, identity="x", **options)
    assert torch.equal(load_file(tmp_path / "v")["a-pgd-20.seconds"], kept)  # not attacked once more
    assert [(m.attack, m.correct) for m in again] == [(m.attack, m.correct) for m in whole]
    with pytest.raises(ValueError, match=r"another kind \(file differ\)"):
        measure_under_attack(context, {"a-": network}, identity="y", **options)


def test_parity_counts_changes_but_not_ties():
    same = Opened(lambda x: torch.tensor([[1.0, 1.0, 0], [1, 1, 0], [2, 1, 0], [3, 0, 0]]))
    other = Opened(lambda x: torch.tensor([[1.0, 1.000001, 0], [1, 1, 0], [1.4, 1.5, 0], [3, 0, 0]]))
    parity = compare_logits(same, other, torch.zeros(4, 1, 1, 1))
    assert (parity.agree, parity.ties, parity.changed) == (2, 1, 1)
    assert parity.largest == pytest.approx(0.6) and parity.relative == pytest.approx(0.2)
    with pytest.raises(ValueError, match="of the largest logit"):
        parity.check("x", 0.1, 0.5)
    with pytest.raises(ValueError, match="2 of 4"):
        parity.check("x", 0.5, 0.9)
    Parity(3, 0.0, 0.0, 2, 1).check("x", 0.0, 1.0)
    with pytest.raises(ValueError):
        Parity(3, float("nan"), float("nan"), 3, 0).check("x", 1.0, 0.0)


def test_a_file_that_computes_something_else_is_not_written(made, network, tmp_path, monkeypatch):
    monkeypatch.setattr(artefact, "session", lambda path: Opened(lambda x: network(x) + 0.1))
    (tmp_path / "file.onnx").write_text("of before")
    with pytest.raises(ValueError, match="file.onnx would not compute what its network does, and was not written"):
        write(made["onnx"], {}, tmp_path / "file.onnx", network, X)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["of before"]


def test_latency_is_in_milliseconds_and_leaves_the_threads_alone(monkeypatch):
    """The network advances the patched clock: by 0 to 9 ms in the warm-up, then by 10, 11, ... 110 ms."""
    clock, takes, threads = [0.0], itertools.count(), torch.get_num_threads()
    monkeypatch.setattr("advdistill.models.price.time.perf_counter", lambda: clock[0])

    def network(x):
        assert torch.get_num_threads() == 1
        clock[0] += next(takes) / 1000

    measured = latency({"slow": network}, X[:1], rounds=101)["slow"]
    assert measured == {"p50": pytest.approx(60), "p90": pytest.approx(100), "p99": pytest.approx(109)}
    assert torch.get_num_threads() == threads


def test_export_measures_the_file_and_says_so_everywhere(folder, capsys):
    assert export(folder, "--to", "onnx-int8") == 0
    path, printed = folder / "teacher.int8.onnx", " ".join(capsys.readouterr().out.split())
    record = json.loads((folder / "teacher.int8.onnx.result.json").read_text())
    result = Result.load(folder / "teacher.int8.onnx.result.json")
    attacks = ["transfer-pgd-20", "transfer-cw-30", "twin-pgd-20", "twin-cw-30", "square-20"]
    assert [m.attack for m in result.measurements] == ["clean", *attacks, "worst-case"]
    verdicts = load_file(folder / "teacher.int8.onnx.result.verdicts.safetensors")
    worst = torch.stack([verdicts[name] for name in ("clean", *attacks)]).amin(0)
    assert torch.equal(verdicts["worst-case"], worst) and worst.sum() == result["worst-case"].correct
    props = {p.key: p.value for p in onnx.load(path).metadata_props}
    figure = f"{100 * result['worst-case'].accuracy:.1f} % (95 % interval"
    assert figure in props["advdistill.robust_accuracy"] and f"robust accuracy: {figure}" in printed
    assert props["advdistill.threat"] == "Linf 0.1" and json.loads(props["advdistill.spec"])["name"] == "convnet-8"
    assert props["advdistill.chosen"] == "by nobody"
    assert record["file"]["bytes"] == path.stat().st_size and record["file"]["twin"]["relative"] < 0.05
    assert set(record["file"]["latency_ms"]) == {path.name, "torch", "float ONNX"}
    assert "parity: largest |Δlogit|" in printed
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    labels = session.run(None, {"images": X.numpy()})[0].argmax(1)
    assert int(np.sum(labels == Y.numpy())) == result["clean"].correct


def test_what_was_not_measured_is_said_and_an_older_figure_is_put_aside(folder, capsys):
    out = folder / "aside" / "x.onnx"
    assert export(folder, "--out", out, "--queries", 0) == 0
    assert Result.load(f"{out}.result.json")["worst-case"].n == 64
    assert export(folder, "--out", out, "--no-evaluate") == 0
    assert capsys.readouterr().out.rstrip().endswith(f"robust accuracy: {NOT_MEASURED}")
    props = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert props["advdistill.robust_accuracy"] == NOT_MEASURED and "advdistill.threat" not in props
    assert Result.load(f"{out}.result.json").measurements == ()
    kept = sorted(file.name for file in out.parent.glob("x.onnx.result*.json"))
    assert len(kept) == 2 and kept[1] == "x.onnx.result.json"


@pytest.mark.parametrize(("arguments", "message"), [
    (["--to", "safetensors"], "is the checkpoint itself. Give --out"),
    (["--to", "torch-export", "--out", "x.onnx"], "x.onnx must end in .pt2"),
    (["--eps", "8"], "eps must lie in"),
    (["--n", "0"], "the first 0 cannot be taken"),
    (["--queries", "-1"], "Square needs at least 1 query"),
])  # fmt: skip
def test_mistakes_are_a_sentence_and_leave_nothing(folder, arguments, message, capsys):
    before = sorted(folder.iterdir())
    assert export(folder, *arguments) == 2
    assert message in capsys.readouterr().err and sorted(folder.iterdir()) == before


def test_without_the_extra_it_says_what_to_install(network, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'An export needs the package onnxscript; .*"advdistill\[export\]"'):
        build("onnx", network, TEST.shape, CALIBRATION)


def test_an_unknown_kind_names_the_nearest(network):
    with pytest.raises(ValueError, match="Did you mean 'onnx-int8'"):
        build("onnx-int", network, TEST.shape, CALIBRATION)
