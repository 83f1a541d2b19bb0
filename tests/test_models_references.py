"""Tests of model references, texts that name a model from any source."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from conftest import ROOT
from huggingface_hub import constants

from advdistill import cli, methods, models
from advdistill._internal import imports
from advdistill._internal.download import Remote, check_recorded, download
from advdistill.cli.list import List
from advdistill.models import teachers
from advdistill.models.checkpoint import provenance
from advdistill.models.reference import KINDS, parse

NETS = '''
import torch
from torch import nn

class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)
        nn.init.ones_(self.head.weight)
        nn.init.zeros_(self.head.bias)
    def forward(self, x):
        return self.head(x.mean((2, 3)))

def sized(width): return Mean()
def wrong(): return {"state_dict": {}}
ready = Mean()
'''


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A user's module in the working directory."""
    (tmp_path / "their_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "their_nets.py"
    sys.modules.pop("their_nets", None)


@pytest.fixture
def forbidden(monkeypatch):
    monkeypatch.setenv(imports.SWITCH, "")  # so that the variable is restored afterwards
    imports.forbid()


def refusal(reference, kind=ValueError, **options):
    with pytest.raises(kind) as error:
        models.load(reference, **options)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_kind_is_one(kind):
    assert parse(KINDS[kind][1]).kind == kind


def test_options_are_values():
    parsed = parse("timm:vit/b?pretrained=false&mean=0.5,1&checkpoint=a+b%20c.pt")
    assert (parsed.name, parsed.options) == (
        "vit/b", {"pretrained": False, "mean": (0.5, 1.0), "checkpoint": "a+b c.pt"})


@pytest.mark.parametrize(("reference", "message"), [
    ("zoo:resnet8?arch=x", "Unknown option 'arch' in a model reference. Known: num_classes, in_channels, "),
    ("robustbench:Rice2020Overfitting?mean=1", "Unknown option 'mean' in a model reference. Known: file, as in "),
    ("timm:x?pretrained=yes", "The option pretrained='yes' of a model reference is malformed; write "),
])  # fmt: skip
def test_options_belong_to_a_kind(reference, message):
    assert refusal(reference).startswith(message)


def test_arguments_belong_to_a_kind_too():
    assert refusal("python:a:b", arch="resnet18").startswith("Unknown option 'arch'")


def test_a_network_of_the_zoo_is_untrained_and_the_same_each_time():
    with pytest.warns(UserWarning, match="zoo:convnet-4 has untrained weights; use it as a student or in tests"):
        first = models.load("zoo:convnet-4?num_classes=7&in_channels=1&mean=0.5")
        torch.manual_seed(123)
        before = torch.get_rng_state()
        again = models.load("zoo:convnet-4?num_classes=7&in_channels=1&mean=0.5")
    assert first.spec == models.ModelSpec("convnet-4", 7, 1, (0.5,)) and not first.training
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
@pytest.mark.parametrize("reference", ["python:their_nets:Mean", "python:their_nets.py:Mean"])
def test_a_users_class_or_function(nets, reference):
    x = torch.full((1, 3, 2, 2), 0.75)
    assert models.load(reference)(x).tolist() == [[2.25, 2.25]]
    assert models.load(f"{reference}?mean=0.5,0.5,0.5&std=0.25,0.5,1")(x).tolist() == [[1.75, 1.75]]
    assert not models.load(reference).training


@pytest.mark.parametrize(("name", "message"), [
    ("wrong", "python:their_nets:wrong returned a dict, not a torch.nn.Module."),
    ("sized", "python:their_nets:sized must be a function or class that is called without arguments and"),
    ("ready", "python:their_nets:ready must be a function or class that is called without arguments and"),
    ("Mena", "Unknown name in 'their_nets' 'Mena'. Did you mean 'Mean'?"),
])
def test_what_is_no_network(nets, name, message):
    assert refusal(f"python:their_nets:{name}").startswith(message)


def test_references_that_cannot_be_imported(nets):
    assert "Cannot import 'no_such_module' for 'no_such_module:Net': " in refusal("python:no_such_module:Net")
    assert "'Net' has no module; write my_module:Net or path/to/file.py:Net." in refusal("python:Net")


def test_forbidden_code_is_not_run(nets, forbidden):
    nets.write_text("raise SystemExit('was run')")
    for refused in (lambda: models.load("python:their_nets.py:Mean"), lambda: methods.build("their_nets.py:Mine")):
        with pytest.raises(ValueError, match="their_nets.py:M.*' would run Python code, which --no-python-refs or ADV"):
            refused()
    assert methods.build("rslad") and models.create("resnet8")


def test_the_command_line_forbids_it_wherever_the_flag_stands(nets, monkeypatch, capsys):
    monkeypatch.setenv(imports.SWITCH, "")
    nets.write_text("raise SystemExit('was run')")
    (nets.parent / "recipe.yaml").write_text("method: {their_nets:Mine: {}}\n")
    for command in (
        ["train", "recipe.yaml", "--no-python-refs"],
        ["--no-python-refs", "evaluate", "python:their_nets:Mean", "--data", "digits"],
        ["train", "digits.rslad", "--no-python-refs", "--method", "their_nets:Mine"],
    ):
        monkeypatch.setenv(imports.SWITCH, "")
        assert cli.main(command) == 2
        assert "would run Python code, which --no-python-refs" in capsys.readouterr().err


def test_a_hugging_face_folder(tmp_path):
    network = models.create("convnet-4", 5, 1)
    models.save(network, tmp_path / "weights.safetensors", {"chosen": "by hand"})
    assert torch.equal(models.load(f"hf:{tmp_path}").conv1.weight, network.conv1.weight)
    assert torch.equal(models.from_pretrained(tmp_path).conv1.weight, network.conv1.weight)
    assert provenance(f"hf:{tmp_path}") == {"chosen": "by hand"}
    models.save(models.create("convnet-8", 5, 1), tmp_path / "other.safetensors")
    choose = f"choose one with hf:{tmp_path}?file=NAME: other.safetensors, weights.safetensors."
    assert refusal(f"hf:{tmp_path}") == f"hf:{tmp_path} holds several weight files; {choose}"
    assert refusal(f"hf:{tmp_path}?file=a") == f"hf:{tmp_path} holds no 'a'; {choose}"
    assert models.load(f"hf:{tmp_path}?file=other.safetensors").spec.name == "convnet-8"
    models.save(models.create("convnet-2", 5, 1), tmp_path / "model.safetensors")
    assert models.load(f"hf:{tmp_path}").spec.name == "convnet-2"
    (tmp_path / "empty").mkdir()
    assert "holds no .safetensors file" in refusal(f"hf:{tmp_path}/empty", FileNotFoundError)


def test_a_hugging_face_repository_comes_from_its_cache_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert re.match(r"hf:owner/robust is not in the cache and cannot be fetched \(.*\); where there is a network, run: "
                    "hf download owner/robust, and", refusal("hf:owner/robust", FileNotFoundError))
    commit, there = "0" * 40, tmp_path / "models--owner--robust"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text(commit)
    (there / "snapshots" / commit).mkdir(parents=True)
    network = models.create("convnet-4", 5, 1)
    models.save(network, there / "snapshots" / commit / "model.safetensors")
    assert torch.equal(models.load("hf:owner/robust").conv1.weight, network.conv1.weight)


def test_a_repository_needs_a_name_and_the_package(without):
    assert refusal("hf:robust", FileNotFoundError) == (
        "hf:robust is neither a folder nor the OWNER/NAME of a repository.")
    without("huggingface_hub")
    said = refusal("hf:a/b", ImportError)
    assert 'needs the package huggingface_hub; install it with: pip install "advdistill[hub]"' in said


def test_only_files_tell_how_they_were_chosen():
    assert provenance("python:a:b") == provenance("zoo:resnet8") == provenance("robustbench:Rice2020Overfitting") == {}


def test_a_normaliser_in_front_is_put_inside(tmp_path):
    network = models.create("convnet-4")
    for outer, inner in (("normalize.", "model."), ("0.", "1.")):
        state = {f"{inner}{key}": tensor for key, tensor in network.state_dict().items()}
        state |= {f"{outer}mean": torch.full((3,), 0.5), f"{outer}std": torch.full((1, 3, 1, 1), 0.25)}
        torch.save({f"net.{key}": tensor for key, tensor in state.items()}, tmp_path / "m.pt")
        assert models.load(tmp_path / "m.pt").spec == models.ModelSpec("convnet-4", 10, 3, (0.5,) * 3, (0.25,) * 3)


def test_the_list_of_teachers(capsys):
    assert List("teachers", json=True)() == 0
    rows = {(row["dataset"], row["name"]): row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == len(teachers.TEACHERS)
    assert rows["cifar10", "Zhang2019Theoretically"] == {
        "name": "Zhang2019Theoretically", "dataset": "cifar10", "clean": 84.92, "autoattack": 53.08, "eps": "0.031",
        "architecture": "wide_resnet_trades-34-10", "parameters": 48_262_586, "licence": "MIT",
    }  # fmt: skip
    assert rows["cifar100", "Rebuffi2021Fixing_R18_ddpm"]["licence"] == "Apache-2.0"
    assert List("teachers", json=False)() == 0
    assert "Rebuffi2021Fixing_106_16_cutmix_ddpm" in capsys.readouterr().out


def test_the_references_on_the_page_are_understood():
    text = (ROOT / "docs" / "teachers.md").read_text()
    for reference in re.findall(r"`((?:file|hf|python|timm|zoo|robustbench):[^`\s]+)`", text):
        parse(reference)
    for name in re.findall(r"robustbench:([\w/-]+)", text):
        assert teachers.find(name)


CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server():
    """A server of CONTENT with Range that breaks off after 3,000 bytes, once; `asked` lists the requested ranges."""

    class Handler(BaseHTTPRequestHandler):
        asked, breaks, kind = [], 1, "application/octet-stream"

        def do_GET(self):
            asked = self.headers["Range"]
            Handler.asked.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Type", Handler.kind)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : start + 3000 if Handler.breaks else None])
            Handler.breaks = 0

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.url = f"http://127.0.0.1:{server.server_port}/id"
    yield Handler
    server.shutdown()
    server.server_close()


def test_a_download_that_breaks_off_goes_on_and_is_recorded(server, tmp_path):
    download(Remote(server.url), tmp_path / "m.pt")
    assert server.asked == [None, "bytes=3000-"]
    assert (tmp_path / "m.pt").read_bytes() == CONTENT and not (tmp_path / "m.pt.part").exists()
    check_recorded(tmp_path / "m.pt")
    (tmp_path / "m.pt").write_bytes(CONTENT[1:])
    with pytest.raises(ValueError, match="m.pt has sha256 .*, but had .* when it was downloaded; delete it and m"):
        check_recorded(tmp_path / "m.pt")


def test_what_an_earlier_call_left_is_continued(server, tmp_path):
    (tmp_path / "m.pt.part").write_bytes(CONTENT[:5000])
    server.breaks = 0
    download(Remote(server.url), tmp_path / "m.pt")
    assert server.asked == ["bytes=5000-"] and (tmp_path / "m.pt").read_bytes() == CONTENT


def test_a_web_page_is_not_taken_for_weights(server, tmp_path):
    server.kind = "text/html"
    with pytest.raises(ConnectionError, match="is a web page and not the file"):
        download(Remote(server.url), tmp_path / "m.pt")
    assert not list(tmp_path.iterdir())


def test_without_a_network_it_is_said_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setattr(teachers, "URL", "http://127.0.0.1:9/{}")
    monkeypatch.setenv("ADVDISTILL_MODELS", str(tmp_path))
    path = tmp_path / "cifar10/Linf/Sehwag2021Proxy_R18.pt"
    with pytest.raises(FileNotFoundError) as error:
        models.load("robustbench:Sehwag2021Proxy_R18")
    assert re.fullmatch(
        r"robustbench:Sehwag2021Proxy_R18 is not here and cannot be downloaded \(.*refused.*\); fetch "
        r"https://drive.google.com/file/d/1-ZgoSlD_AMhtXdnUElilxVXnzK2DcHuu/view and put it at "
        rf"{re.escape(str(path))}, or write robustbench:Sehwag2021Proxy_R18\?file=PATH.", str(error.value))
    network = models.create("resnet18")
    torch.save(network.state_dict(), path)
    assert torch.equal(models.load("robustbench:Sehwag2021Proxy_R18").conv1.weight, network.conv1.weight)
