"""The real client of Hugging Face against a hub on this machine: what `push` uploads is what `load` fetches."""

import base64
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants

from advdistill import models
from advdistill.cli.push import Push

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's server as a model repository needs; `files` is its content, `asked` counts the requests."""

    files: dict[str, bytes] = {}
    asked: Counter = Counter()
    refuses = False

    def log_message(self, *said):
        pass

    def answer(self, content: bytes, status: int = 200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, value, status: int = 200):
        self.answer(json.dumps(value).encode(), status, Content_Type="application/json")

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked[self.path] += 1
        if self.refuses:
            self.tell({"error": "Invalid user token."}, 401)
        elif self.path == "/api/repos/create":
            self.tell({"url": f"http://{self.headers['Host']}/me/mine"})
        elif self.path == "/api/validate-yaml":  # checks a model card
            self.tell({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(sent)["files"]]
            self.tell({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
        elif "/commit/" in self.path:
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.tell({"commitUrl": f"http://{self.headers['Host']}/me/mine/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.tell({"error": f"no {self.path}"}, 404)

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked[path] += 1
        name = path.rpartition("/")[2]
        if self.refuses:
            self.tell({"error": "Repository not found"}, 401)
        elif path.startswith(f"/api/models/me/mine/tree/{COMMIT}"):
            self.tell([{"type": "file", "path": file, "size": len(content), "oid": str(len(file)).rjust(40, "0")}
                       for file, content in self.files.items()])  # fmt: skip
        elif path.startswith("/api/models/me/mine"):
            siblings = [{"rfilename": file} for file in self.files]
            self.tell({"id": "me/mine", "modelId": "me/mine", "sha": COMMIT, "siblings": siblings})
        elif path.startswith("/me/mine/resolve/") and name in self.files:
            self.answer(self.files[name], X_Repo_Commit=COMMIT, ETag=f'"{len(self.files[name])}"')
        else:
            self.tell({"error": f"no {path}"}, 404)

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path, monkeypatch):
    handler = type("OneHub", (Hub,), {"files": {}, "asked": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_made_up")
        yield handler
        server.shutdown()


def test_what_is_pushed_is_what_is_loaded(hub, tmp_path, capsys):
    network = models.create("convnet-4", 5, 1, mean=(0.5,))
    models.save(network, tmp_path / "m.safetensors", {"chosen": "by hand"})
    assert Push(str(tmp_path / "m.safetensors"), "hf:me/mine")() == 0
    assert "uploaded to https://huggingface.co/me/mine" in capsys.readouterr().err
    assert hub.files.keys() == {"README.md", "config.json", "model.safetensors"}
    assert json.loads(hub.files["config.json"])["name"] == "convnet-4"
    assert b'load("hf:me/mine")' in hub.files["README.md"]
    for loaded in (models.load("hf:me/mine"), models.from_pretrained("me/mine")):
        assert loaded.spec == network.spec and torch.equal(loaded.conv1.weight, network.conv1.weight)
    fetched = [path for path in hub.asked if "/resolve/" in path]
    assert fetched == [f"/me/mine/resolve/{COMMIT}/model.safetensors"]  # neither the card nor anything else


def test_a_hub_that_refuses(hub, tmp_path):
    hub.refuses = True
    models.save(models.create("convnet-4", 5, 1), tmp_path / "m.safetensors")
    with pytest.raises(OSError, match=r"^hf:me/mine could not be written \(.*401.*\). Are you logged in\? hf auth"):
        Push(str(tmp_path / "m.safetensors"), "hf:me/mine")()
    with pytest.raises(FileNotFoundError, match=r"^hf:me/mine is not in the cache and cannot be fetched \("):
        models.load("hf:me/mine")
