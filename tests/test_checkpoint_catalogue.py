"""Tests of the file formats in which weights are shared: each is loaded exactly, or rejected by an error that names it.

The tests create the files. Those of `LOADED` must give the logits of the saved network, those of `REFUSED` a sentence.
"""

import argparse
import bz2
import collections
import datetime
import gzip
import io
import json
import lzma
import pathlib
import pickle
import struct
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from torch import nn
from torch.optim.swa_utils import AveragedModel

from advdistill import models


def network():
    torch.manual_seed(0)
    made = models.create("convnet-4", num_classes=10, in_channels=1)
    made(torch.rand(8, 1, 8, 8))  # changes the initial running statistics
    return made


def state(**changed):
    return dict(network().state_dict()) | changed


def torch_bytes(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def prefixed(prefix, others=()):
    return {prefix + key: value for key, value in state().items()} | dict(others)


def cast(dtype):
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state().items()}


def training(**more):
    """What a script saves every epoch."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])  # its state has a Counter
    values = {"epoch": 3, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "best_acc": 0.5}
    return values | {"rng": torch.get_rng_state(), "classes": ("a", "b"), "done": {1, 2}} | more


class Attributes(nn.Module):
    """A module that holds the network as `backbone`."""

    def __init__(self):
        super().__init__()
        self.backbone = network()



def renamed(made, *pairs):
    found = {}
    for key, value in made.state_dict().items():
        for old, new in pairs:
            key = key.replace(old, new)
        found[key] = value
    return found


MEAN = torch.tensor([0.5])
STATISTICS = {"mean": (0.5,), "std": (0.25,)}
LOADED = {  # the file's name and content, by format
    "state dict": ("m.pt", lambda: torch_bytes(state())),
    "OrderedDict with metadata": ("m.pth", lambda: torch_bytes(network().state_dict())),
    "before the zip": ("m.pt", lambda: torch_bytes(state(), _use_new_zipfile_serialization=False)),
    "named .bin": ("pytorch_model.bin", lambda: torch_bytes(state())),
    "named .pth.tar": ("model_best.pth.tar", lambda: torch_bytes({"state_dict": state(), "epoch": 1})),
    "no suffix": ("weights", lambda: torch_bytes(state())),
    "safetensors": ("m.safetensors", lambda: safetensors_bytes(state())),
    "safetensors named .pt": ("m.pt", lambda: safetensors_bytes(state())),
    "torch.save named .safetensors": ("m.safetensors", lambda: torch_bytes(state())),
    "old torch.save named .safetensors": (
        "m.safetensors", lambda: torch_bytes(state(), _use_new_zipfile_serialization=False)),
    "parameters": ("m.pt", lambda: torch_bytes(dict(network().named_parameters()) | dict(network().named_buffers()))),
    "training": ("m.ckpt", lambda: torch_bytes(training(state_dict=state()))),
    "training, model and averages": (
        "m.pt", lambda: torch_bytes(training(model=state(), ema={k: v * 0 for k, v in state().items()}))),
    "under another word": ("m.pt", lambda: torch_bytes(training(my_student=state()))),
    "two words down": ("m.pt", lambda: torch_bytes({"epoch": 1, "networks": {"student": state()}})),
    "with arguments, in a list": ("m.pt", lambda: torch_bytes([{"width": 4}, state()])),
    "in a tuple with the optimizer": ("m.pt", lambda: torch_bytes((state(), training()["optimizer"]))),
    "DataParallel": ("m.pt", lambda: torch_bytes(nn.DataParallel(network()).state_dict())),
    "DataParallel inside": ("m.pt", lambda: torch_bytes(
        {key.replace(".", ".module.", 1): value for key, value in state().items()})),
    "compiled": ("m.pt", lambda: torch_bytes(torch.compile(network(), backend="eager").state_dict())),
    "compiled submodules": ("m.pt", lambda: torch_bytes(
        {key.replace(".", "._orig_mod.", 1): value for key, value in state().items()})),
    "compiled, then DataParallel": ("m.pt", lambda: torch_bytes(prefixed("module._orig_mod."))),
    "FSDP and activation checkpointing": (
        "m.pt", lambda: torch_bytes(prefixed("_fsdp_wrapped_module._checkpoint_wrapped_module."))),
    "AveragedModel": ("m.pt", lambda: torch_bytes(AveragedModel(network()).state_dict())),
    "AveragedModel under swa": (
        "m.pt", lambda: torch_bytes({"epoch": 9, "swa": AveragedModel(network()).state_dict()})),
    "AveragedModel of DataParallel": (
        "m.pt", lambda: torch_bytes({"swa_model": AveragedModel(nn.DataParallel(network())).state_dict()})),
    "Lightning": ("m.ckpt", lambda: torch_bytes(training(
        state_dict=prefixed("model."), **{"pytorch-lightning_version": "2.4.0", "callbacks": {}, "loops": {}}))),
    "Lightning with a loss": (
        "m.ckpt", lambda: torch_bytes({"state_dict": prefixed("net.", {"criterion.weight": torch.ones(10)})})),
    "an outer module": ("m.pt", lambda: torch_bytes(Attributes().state_dict())),
    "Sequential of one": ("m.pt", lambda: torch_bytes(nn.Sequential(network()).state_dict())),
    "Sequential behind a normaliser": (
        "m.pt", lambda: torch_bytes(nn.Sequential(nn.Identity(), network()).state_dict())),
    "Sequential in DataParallel": (
        "m.pt", lambda: torch_bytes(nn.DataParallel(nn.Sequential(network())).state_dict())),
    "float64": ("m.pt", lambda: torch_bytes(cast(torch.float64))),
    "operations counted by thop": ("m.pt", lambda: torch_bytes(
        state(total_ops=torch.zeros(1, dtype=torch.float64), **{"conv1.total_params": torch.zeros(1)}))),
    "statistics without counters": ("m.pt", lambda: torch_bytes(
        {key: value for key, value in state().items() if "num_batches" not in key})),
    "head called fc": ("m.pt", lambda: torch_bytes(renamed(network(), ("linear.", "fc.")))),
    "head called classifier": ("m.pt", lambda: torch_bytes(renamed(network(), ("linear.", "classifier.")))),
    "bytes, complex and dtypes beside it": ("m.pt", lambda: torch_bytes(
        {"net": state(), "git": b"\xff0a", "z": 1j, "dtype": torch.float32, "device": torch.device("cpu")})),
}  # fmt: skip


@pytest.fixture
def images():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def written(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize("shape", LOADED)
def test_it_is_loaded_equal(shape, tmp_path, images):
    name, content = LOADED[shape]
    loaded = models.load(written(tmp_path, name, content()))
    assert torch.equal(loaded(images), network().eval()(images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_cast(dtype, tmp_path, images):
    loaded = models.load(written(tmp_path, "m.pt", torch_bytes(cast(dtype))))
    expected = network().eval()
    expected.load_state_dict(cast(dtype))
    assert loaded.conv1.weight.dtype is torch.float32 and torch.equal(loaded(images), expected(images))


@pytest.mark.parametrize(("mean", "std", "net"), [
    ("mean", "std", "model."), ("0.mean", "0.std", "1."), ("module.0.mean", "module.0.std", "module.1."),
    ("normalizer.mean", "normalizer.std", "net."), ("module.norm_layer.mu", "module.norm_layer.sigma", "module.body."),
    ("_orig_mod.0._mean", "_orig_mod.0._std", "_orig_mod.1."),
])  # fmt: skip
def test_a_normaliser_beside_the_network_is_put_inside(mean, std, net, tmp_path, images):
    stored = prefixed(net, {mean: torch.tensor([0.5]).view(1, 1, 1, 1), std: torch.tensor([0.25])})
    loaded = models.load(written(tmp_path, "m.pt", torch_bytes(stored)))
    assert (loaded.spec.mean, loaded.spec.std) == ((0.5,), (0.25,))
    assert torch.equal(loaded(images), network().eval()((images - 0.5) / 0.25))


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
@pytest.mark.parametrize("names", [
    (), (("fc.", "linear."),), (("fc.", "linear."), (".downsample.", ".shortcut.")),
])  # fmt: skip
def test_cifar_resnets(depth, names, tmp_path, images):
    """Names as in chenyaofo's pytorch-cifar-models, and with `linear` and `shortcut`."""
    torch.manual_seed(0)
    made = models.create(f"resnet{depth}", 10, 1).eval()
    loaded = models.load(written(tmp_path, "m.pt", torch_bytes(renamed(made, *names))))
    assert loaded.spec.name == f"resnet{depth}" and torch.equal(loaded(images), made(images))


def test_torchvisions_names_are_taken_where_the_architecture_is_named(tmp_path, images):
    """A state dict with torchvision's names does not show whether the network has max-pooling."""
    torch.manual_seed(0)
    made = models.create("resnet18", 10, 1).eval()
    path = written(tmp_path, "m.pt", torch_bytes(renamed(made, ("linear.", "fc."), (".shortcut.", ".downsample."))))
    with pytest.raises(ValueError, match=r"without max-pooling, write file:.*m.pt\?arch=resnet18"):
        models.load(path)
    assert torch.equal(models.load(f"{path}?arch=resnet18")(images), made(images))


def tar_bytes(mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        content = torch_bytes(state())
        entry = tarfile.TarInfo("m.pt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def zip_bytes(*names, compression=zipfile.ZIP_STORED, contents=None):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name in names:
            archive.writestr(name, contents or b"x")
    return stream.getvalue()


def packed_again():
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_bytes(state()))) as old, zipfile.ZipFile(
            stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return stream.getvalue()


def script():
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(1, 1, 8, 8)), stream)
    return stream.getvalue()


def numpy_bytes(write, *arguments, **arrays):
    stream = io.BytesIO()
    write(stream, *arguments, **arrays)
    return stream.getvalue()


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(state()["conv1.weight"], 0.1, 0, torch.qint8)


class Trainer:
    """A user's class."""


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 244417\n".encode()
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x80\x01"
REFUSED = {
    "empty": ("m.pt", b"", "m.pt is empty; copy it anew"),
    "empty safetensors": ("m.safetensors", b"", "is empty"),
    "preallocated": ("m.pt", bytes(5000), "5,000 bytes of which the first 4,096 are zero, as of an unfinished"),
    "LFS pointer": ("m.pt", LFS, "is a Git LFS pointer, .* run git lfs pull"),
    "LFS pointer, safetensors": ("m.safetensors", LFS, "is a Git LFS pointer"),
    "web page": ("m.pt", PAGE, r"is a web page \('Google Drive - Virus scan warning'\), HTML"),
    "web page in capitals": ("m.pt", b"<HTML><BODY>404</BODY></HTML>", "is a web page, HTML"),
    "XML of a store": ("m.pt", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
    "JSON": ("m.pt", b'{"error": "not found"}', "is JSON, not a checkpoint"),
    "long JSON": ("m.pt", json.dumps({"a": [0.5] * 5000}).encode(), "is JSON"),
    "index of shards": ("m.safetensors.index.json", b'{"metadata": {}, "weight_map": {"a": "b"}}',
                        "JSON, the index of a checkpoint in several files"),
    "text": ("m.pt", b"hello world", "is a text file, not a PyTorch checkpoint"),
    "gzip": ("m.pt.gz", lambda: gzip.compress(torch_bytes(state())), "is packed with gzip; .*gunzip"),
    "gzip of a tar": ("m.tar.gz", lambda: tar_bytes("w:gz"), "is packed with gzip"),
    "bzip2": ("m.pt", lambda: bz2.compress(torch_bytes(state())), "is packed with bzip2"),
    "xz": ("m.pt", lambda: lzma.compress(torch_bytes(state())), "is packed with xz"),
    "tar": ("m.pth.tar", tar_bytes, "is a tar archive; unpack it"),
    "zip of a checkpoint": ("m.zip", lambda: zip_bytes("m.pt", "README.md"), "is a zip archive that torch.save did not "
                            "write .it holds m.pt, README.md.; unpack it"),
    "zip of nothing": ("m.pt", zip_bytes, "is an empty zip archive"),
    "packed again": ("m.pt", packed_again, "is a file of torch.save that a zip program has packed again"),
    "TorchScript": ("m.pt", script, "is TorchScript .torch.jit.save., which holds code; .* torch.save.model.state"),
    "torch.export": ("m.pt2", lambda: zip_bytes("m/archive_format", "m/models/model.json"),
                     "is torch.export's program"),
    "Keras": ("m.keras", lambda: zip_bytes("metadata.json", "config.json", "model.weights.h5"), "is a Keras model"),
    "HDF5": ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file, as Keras writes them"),
    "npy": ("m.npy", lambda: numpy_bytes(np.save, np.zeros(3)), "is a NumPy array"),
    "npz": ("m.npz", lambda: numpy_bytes(np.savez, a=np.zeros(3)), "is a NumPy archive"),
    "ONNX": ("m.onnx", ONNX, "is an ONNX model"),
    "TensorFlow Lite": ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(30), "is a TensorFlow Lite model"),
    "TensorFlow's list": ("checkpoint", b'model_checkpoint_path: "m.ckpt-1"\n', "is TensorFlow's list of checkpoints"),
    "image": ("m.pt", b"\x89PNG\r\n\x1a\n" + bytes(30), "is a PNG image"),
    "cut": ("m.pt", lambda: torch_bytes(state())[:3000], "is truncated or not a PyTorch checkpoint; copy it anew"),
    "cut, of old": ("m.pt", lambda: torch_bytes(state(), _use_new_zipfile_serialization=False)[:1500], "is truncated"),
    "whole network": ("m.pt", lambda: torch_bytes(network()), "m.pt holds a whole network, an object of the class "
                      "advdistill.models.small.ConvNet, which could run code, so it was not opened; .*state_dict"),
    "whole network under net": ("m.pt", lambda: torch_bytes({"net": network()}),
                                "holds advdistill.*ConvNet under net,"),
    "numpy.float64": ("m.pt", lambda: torch_bytes({"state_dict": state(), "best_acc": np.float64(0.8)}),
                      "holds numpy.float64 under best_acc, .*; where you trust it, save model.state_dict.. alone"),
    "numpy.float64, of old": ("m.pt", lambda: torch_bytes(
        {"net": state(), "acc": np.float32(0.8)}, _use_new_zipfile_serialization=False), "numpy.float32 under acc"),
    "numpy.ndarray": ("m.pt", lambda: torch_bytes({"net": state(), "log": {"loss": np.zeros(3)}}),
                      "holds numpy.ndarray under log.loss"),
    "Namespace": ("m.pt", lambda: torch_bytes({"net": state(), "args": argparse.Namespace(lr=0.1)}),
                  "holds argparse.Namespace under args"),
    "defaultdict": ("m.pt", lambda: torch_bytes({"net": state(), "seen": collections.defaultdict(int)}),
                    "holds collections.defaultdict under seen"),
    "path": ("m.pt", lambda: torch_bytes({"net": state(), "out": [pathlib.PurePosixPath("a")]}),
             "holds pathlib.PurePosixPath under out.0"),
    "date": ("m.pt", lambda: torch_bytes({"net": state(), "at": datetime.date(2024, 1, 1)}),
             "holds datetime.date under at"),
    "somebody's class": ("m.pt", lambda: torch_bytes({"net": state(), "trainer": Trainer()}),
                         r"\.Trainer under trainer"),
    "a class itself": ("m.pt", lambda: torch_bytes({"net": state(), "loss": nn.CrossEntropyLoss}),
                       "CrossEntropyLoss under loss"),
    "plain pickle": ("m.pkl", lambda: pickle.dumps({"a": 1}, 2), "is a plain pickle .pickle.dump. of a dict"),
    "plain pickle of arrays": ("m.pkl", lambda: pickle.dumps({"conv1.weight": np.zeros(3)}),
                               "holds numpy.ndarray under conv1.weight"),
    "protocol 4": ("m.pt", lambda: torch_bytes(state(), pickle_protocol=4), "was pickled with protocol 4, .* reads 2"),
    "only an optimizer": ("m.pt", lambda: torch_bytes({"optimizer": training()["optimizer"]}),
                          "holds no weights, only optimizer"),
    "two networks": ("m.pt", lambda: torch_bytes({"g": state(), "d": state(), "epoch": 1}),
                     r"holds several networks \(g, d\)"),
    "teacher and student": ("m.pt", lambda: torch_bytes(prefixed("teacher.", prefixed("student."))),
                            r"holds several networks \(teacher, student\)"),
    "a tensor": ("m.pt", lambda: torch_bytes(torch.zeros(3)), "holds a Tensor, not a state dict"),
    "long": ("m.pt", lambda: torch_bytes({k: v.long() for k, v in state().items()}), "conv1.weight in int64; weights"),
    "bool": ("m.pt", lambda: torch_bytes({k: v.bool() for k, v in state().items()}), "conv1.weight in bool"),
    "complex": ("m.pt", lambda: torch_bytes({k: v.to(torch.complex64) for k, v in state().items()}), "in complex64"),
    "int8 without a scale": (
        "m.safetensors", lambda: safetensors_bytes({k: v.to(torch.int8) for k, v in state().items()}),
                             r"has \S+ in int8"),
    "int8 with a scale": ("m.pt", lambda: torch_bytes(state(**{"conv1.weight": state()["conv1.weight"].to(torch.int8),
                          "conv1.weight_scale": torch.ones(4)})),
                          "is quantised: conv1.weight is int8, with conv1.weight_s"),
    "fp8": ("m.pt", lambda: torch_bytes(cast(torch.float8_e4m3fn)), "in float8_e4m3fn, of 8 bits or less"),
    "fp8, safetensors": ("m.safetensors", lambda: safetensors_bytes(cast(torch.float8_e5m2)), "in float8_e5m2"),
    "quantised tensor": ("m.pt", lambda: torch_bytes(state(**{"conv1.weight": quantised()})),
                         "holds a tensor that is quantised under conv1.weight"),
    "sparse tensor": ("m.pt", lambda: torch_bytes(state(**{"linear.weight": state()["linear.weight"].to_sparse()})),
                      "holds a tensor that is sparse under linear.weight"),
    "meta tensor": ("m.pt", lambda: torch_bytes(state(**{"linear.weight": torch.empty(10, 16, device="meta")})),
                    "without values .on the device meta. under linear.weight"),
    "weight_norm": ("m.pt", lambda: torch_bytes(nn.utils.parametrizations.weight_norm(Attributes().backbone.conv1)
                    and renamed_norm()), "split by weight_norm: remove it before saving"),
    "pruned": ("m.pt", lambda: torch_bytes({k.replace("conv1.weight", "conv1.weight_orig"): v for k, v in state(
        **{"conv1.weight_mask": state()["conv1.weight"]}).items()}), "pruned or under spectral_norm"),
}  # fmt: skip


def renamed_norm():
    made = network()
    nn.utils.parametrizations.weight_norm(made.conv1)
    return made.state_dict()


@pytest.mark.parametrize("shape", REFUSED)
def test_it_is_refused_with_what_it_is(shape, tmp_path):
    name, content, sentence = REFUSED[shape]
    path = written(tmp_path, name, content if isinstance(content, bytes) else content())
    with pytest.raises(ValueError, match=sentence) as caught:
        models.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_the_catalogue_is_large():
    assert len(LOADED) + len(REFUSED) >= 80


def nested(count, key=True):
    """Return a pickle with a key of nested tuples, each holding the previous one twice: 2 ** count steps to hash."""
    pairs = b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(count))
    start = b"\x80\x02}" if key else b"\x80\x02c__builtin__\nset\n]"
    end = b"K\x01s." if key else b"a\x85R."
    return start + b"K\x01K\x01\x86q\x00" + pairs + end


def called(function, argument, times=1):
    return b"\x80\x02" + function + b"q\x00" + argument + b"q\x01" + b"h\x00h\x01\x85R0" * times + b"N."


ONE_GIGABYTE = b"J" + struct.pack("<i", 2**30)
BUSY = {
    "a key": nested(60),
    "an element of a set": nested(60, key=False),
    "a key in a pair": b"\x80\x02ccollections\nOrderedDict\n]" + nested(60)[3:-4] + b"K\x01\x86a\x85R.",
    "a key in a list of two": b"\x80\x02ccollections\nOrderedDict\n]]" + nested(60)[3:-4] + b"aK\x01aa\x85R.",
    "text counted again and again": called(b"ccollections\nCounter\n", b"X\x10\x27\x00\x00" + b"x" * 10_000, 5000),
    "a list copied again and again": called(b"c__builtin__\nset\n", b"](" + b"K\x01" * 5000 + b"e", 5000),
    "shapes of 10,000 numbers": called(b"ctorch\nSize\n", b"(" + b"K\x01" * 10_000 + b"t", 5000),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", BUSY)
def test_a_small_file_does_not_keep_the_loader_busy(name, zipped, tmp_path):
    content = BUSY[name]
    if zipped:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for entry, data in (("data.pkl", content), ("byteorder", b"little"), ("version", b"3\n")):
                archive.writestr(f"archive/{entry}", data)
        content = stream.getvalue()
    with pytest.raises(ValueError, match="would take far too long to unpickle for its size"):
        models.load(written(tmp_path, "m.pt", content))


@pytest.mark.parametrize(("content", "named"), [
    (called(b"c__builtin__\nbytearray\n", ONE_GIGABYTE), "bytearray of a number"),
    (called(b"ctorch\nFloatTensor\n", ONE_GIGABYTE), "torch.FloatTensor"),
    (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00hex\x86R.", "_codecs.encode of"),
])  # fmt: skip
def test_calls_that_take_memory_are_refused_by_name(content, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        models.load(written(tmp_path, "m.pt", content.replace(b"0N.", b".")))


def test_honest_files_are_never_too_much_work(tmp_path, images):
    """A long log, thousands of tensors, an OrderedDict as Python 2 wrote it, a table of many tuples."""
    log = {"losses": [float(i) for i in range(20_000)], "table": [(i, (i, str(i))) for i in range(5_000)]}
    many = {i: {"exp_avg": torch.zeros(2), "step": torch.tensor(1.0)} for i in range(1_000)}
    log |= {"optimizer": {"state": many, "param_groups": []}}
    log |= {"named": collections.OrderedDict(log), "text": "x" * 10**6}
    log |= {"keys": {(epoch, step): 0.5 for epoch in range(50) for step in range(100)}}
    loaded = models.load(written(tmp_path, "m.pt", torch_bytes({"net": state(), **log})))
    assert torch.equal(loaded(images), network().eval()(images))
