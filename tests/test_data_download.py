"""Tests of downloads from a local server that breaks off or answers wrongly."""

import hashlib
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from test_data_cifar import FILES, packed_batches

from advdistill._internal.download import Remote, download
from advdistill.data import cifar

CONTENT = bytes(range(256)) * 400


class Server(ThreadingHTTPServer):
    """A server of one content (None: not found); the first `breaks` answers stop halfway."""

    def __init__(self, content, ranges=True, breaks=0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.breaks = content, ranges, breaks
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.headers["Range"])
        if self.server.content is None:
            return self.send_error(404)
        asked = self.headers["Range"] if self.server.ranges else None
        start = int(asked[6:-1]) if asked else 0
        self.answer(self.server.content[start:], 206 if asked else 200)

    def answer(self, body, status):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(content, **moods):
        servers.append(Server(content, **moods))
        Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def remote(server, content=CONTENT, size=None, sha256=None):
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    return Remote(f"{server.url}/made.tar.gz", size or len(content), sha256)


def test_whole(serve, tmp_path):
    file = download(remote(serve(CONTENT)), tmp_path / "made.tar.gz")
    assert file == tmp_path / "made.tar.gz"
    assert file.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [file]


def test_a_broken_connection_is_resumed(serve, tmp_path):
    server = serve(CONTENT, breaks=2)
    file = download(remote(server), tmp_path / "made.tar.gz")
    assert file.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=51200-", "bytes=76800-"]


def test_an_earlier_process_is_continued(serve, tmp_path):
    (tmp_path / "made.tar.gz.part").write_bytes(CONTENT[:1000])
    server = serve(CONTENT)
    assert download(remote(server), tmp_path / "made.tar.gz").read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_a_whole_part_is_only_checked(serve, tmp_path):
    (tmp_path / "made.tar.gz.part").write_bytes(CONTENT)
    server = serve(CONTENT)
    assert download(remote(server), tmp_path / "made.tar.gz").read_bytes() == CONTENT
    assert server.requests == []


def test_without_range_support_it_starts_again(serve, tmp_path):
    (tmp_path / "made.tar.gz.part").write_bytes(b"x" * 1000)
    assert download(remote(serve(CONTENT, ranges=False)), tmp_path / "made.tar.gz").read_bytes() == CONTENT


def test_without_range_support_a_line_that_always_breaks_is_given_up(serve, tmp_path):
    with pytest.raises(ConnectionError, match="was interrupted at 51200 of 102400 bytes"):
        download(remote(serve(CONTENT, ranges=False, breaks=9)), tmp_path / "made.tar.gz")


def test_wrong_checksum(serve, tmp_path):
    with pytest.raises(ValueError, match="has sha256 .*, expected 000.*; deleted, run the same command again"):
        download(remote(serve(CONTENT), sha256="0" * 64), tmp_path / "made.tar.gz")
    assert not list(tmp_path.iterdir())


def test_a_page_instead_of_the_file(serve, tmp_path):
    with pytest.raises(ConnectionError, match="offers 12 bytes instead of 102400"):
        download(remote(serve(b"please login")), tmp_path / "made.tar.gz")
    assert not list(tmp_path.iterdir())


def test_not_found(serve, tmp_path):
    with pytest.raises(ConnectionError, match="Not Found"):
        download(remote(serve(None)), tmp_path / "made.tar.gz")


def test_nobody_listens(tmp_path):
    with pytest.raises(ConnectionError, match="refused"):
        download(Remote("http://127.0.0.1:9/made.tar.gz", 1, ""), tmp_path / "made.tar.gz")


def test_the_official_archive_is_fetched_unpacked_and_kept(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    archive = tmp_path / "made.tar.gz"
    packed_batches(archive)
    server = serve(archive.read_bytes())
    release = replace(cifar.CIFAR10_RELEASE, remote=remote(server, archive.read_bytes()))
    read = partial(cifar.read, release, folder=None, label_bytes=1)
    assert read("test")[1].tolist() == read("test")[1].tolist() == [5, 6]
    assert server.requests == [None]
    assert sorted(file.name for file in (tmp_path / "cache/cifar10").iterdir()) == [".lock", *sorted(FILES)]
