"""Over real sockets: whoever sends too much, too slowly, or for another name changes nothing for others meanwhile."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import threading
import time
import urllib.request
import zlib

import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra 'studio' is not installed")

from betabloom.studio import guard as guard_module
from betabloom.studio.app import create_app
from betabloom.studio.atelier import Atelier
from betabloom.studio.serve import server_of

SLOWEST = 5.0  # seconds that another client may wait meanwhile, on a machine that is busy


@pytest.fixture(scope="module")
def server(model_folder, tmp_path_factory):
    """A studio that listens, with little patience: its address, its folder, and its guard."""
    patience = pytest.MonkeyPatch()
    patience.setattr(guard_module, "PATIENCE", 1.0)
    folder = tmp_path_factory.mktemp("served")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    app = create_app(Atelier(model_folder), folder, [f"127.0.0.1:{port}"])
    served = server_of(app)
    thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not served.started:
        time.sleep(0.02)
    yield port, folder, app
    served.should_exit = True
    thread.join(20)
    patience.undo()
    assert not thread.is_alive()


class Meanwhile:
    """Another client, who asks for pictures again and again while something is going on."""

    def __init__(self, port: int) -> None:
        self.port, self.times, self.wrong = port, [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self) -> None:
        while not self.over.is_set() or not self.times:
            began = time.monotonic()
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}/api/draw", b'{"n": 2}', {"content-type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert len(json.load(answer)["pictures"]) == 2
            except Exception as error:
                self.wrong.append(error)
            self.times.append(time.monotonic() - began)
            time.sleep(0.02)

    def __enter__(self) -> Meanwhile:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(60)
        assert not self.wrong
        assert max(self.times) < SLOWEST


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def head(port: int, line: str, *headers: str, host: str = "") -> bytes:
    return "\r\n".join([line, f"Host: {host or f'127.0.0.1:{port}'}", *headers, "", ""]).encode("latin-1")


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and all that comes until the server closes or has said what its header announces."""
    response = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            response += part
            top, _, body = response.partition(b"\r\n\r\n")
            lengths = [line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths and len(body) >= int(lengths[0].split(b":")[1]):
                break
    return int(response.split()[1]) if response else 0, response


def at_rest(app) -> None:
    """Nothing is being worked on any more."""
    end = time.monotonic() + 10
    while app.busy and time.monotonic() < end:
        time.sleep(0.02)
    assert app.busy == 0


def sent(port: int, *parts: bytes) -> tuple[int, bytes]:
    with connected(port) as connection:
        for part in parts:
            connection.sendall(part)
        return answer_of(connection)


def test_slow_clients_are_let_go_and_keep_nobody_waiting(server):
    port, _, app = server
    begun = time.monotonic()
    with Meanwhile(port), contextlib.ExitStack() as stack:
        headers_only = [stack.enter_context(connected(port)) for _ in range(60)]
        for each in headers_only:
            each.sendall(b"POST /api/draw HTTP/1.1\r\nHost: 127")
        bodies = [stack.enter_context(connected(port)) for _ in range(40)]
        for each in bodies:
            each.sendall(head(port, "POST /api/draw HTTP/1.1", "Content-Length: 1000") + b'{"n"')
        silent = [stack.enter_context(connected(port)) for _ in range(40)]
        assert {answer_of(each)[0] for each in bodies} == {408}
        for each in (*headers_only, *silent):
            assert answer_of(each)[0] in (0, 400)  # closed
    assert time.monotonic() - begun < 30
    at_rest(app)


def test_a_body_of_a_gigabyte_is_refused_before_it_is_there(server):
    port, _, app = server
    with Meanwhile(port):
        status, _ = sent(port, head(port, "POST /api/encode HTTP/1.1", f"Content-Length: {1 << 30}"))
        assert status == 413
        for length in ("-1", "1e9", "9" * 400, ""):
            status, _ = sent(
                port, head(port, "POST /api/encode HTTP/1.1", f"Content-Length: {length}", "Connection: close")
            )
            assert status in (0, 400, 413)
    at_rest(app)


def test_a_gigabyte_in_chunks_is_cut_off(server):
    port, _, app = server
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    with Meanwhile(port), connected(port) as connection:
        connection.sendall(head(port, "POST /api/encode HTTP/1.1", "Transfer-Encoding: chunked"))
        taken = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(1024):
                connection.sendall(chunk)
                taken += 1
                connection.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if connection.recv(1, socket.MSG_PEEK):
                        break
                connection.settimeout(20)
        assert taken < 200
    at_rest(app)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that unpacks to gigabytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(1 << 20)) for _ in range(64)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small PNG with a text that unpacks to 64 MB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    text = b"betabloom\0\0" + zlib.compress(b"[" * (1 << 26), 9)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    whole = file.getvalue()
    return whole[:33] + chunk(b"zTXt", text) + whole[33:]


@pytest.mark.parametrize("path", ["/api/encode", "/api/restore"])
@pytest.mark.parametrize("content", [bomb(60_000, 60_000), bomb(2**31 - 1, 2**31 - 1), text_bomb()])
def test_pictures_that_unpack_to_gigabytes_are_refused(server, path, content):
    port, _, _ = server
    with Meanwhile(port):
        status, body = sent(port, head(port, f"POST {path} HTTP/1.1", f"Content-Length: {len(content)}") + content)
    assert status == 422 or (path == "/api/encode" and status == 200 and content[:40] == text_bomb()[:40])
    assert b"Traceback" not in body


@pytest.mark.parametrize(
    "place",
    [
        "..%2F..%2Fetc/a.png", "%2E%2E/a.png", "mine/..%2F..%2Fa.png", "mine/%2Fetc%2Fa.png", "mine/a.png%00.sh",
        "mine/..%5C..%5Ca.png", "C:/a.png", "mine/.png", "~/a.png", "mine/%252e%252e%252fa.png", "a%0d%0aX: y/b.png",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_write_nothing_there(server, place):
    port, folder, _ = server
    before = {path for path in folder.parent.rglob("*") if folder not in path.parents}
    with Meanwhile(port):
        status, _ = sent(port, head(port, f"PUT /api/folders/{place} HTTP/1.1", "Content-Length: 4") + b"\x89PNG")
    assert status in (200, 400, 404, 405, 422)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert all(path.parent.parent == folder / "pictures" for path in written)
    assert {path for path in folder.parent.rglob("*") if folder not in path.parents} == before


@pytest.mark.parametrize(
    "place", ["/..%2f..%2f..%2fetc/passwd", "/shared/..%2f..%2fapp.py", "/../app.py", "/static/%00"]
)
def test_no_file_is_read_from_elsewhere(server, place):
    port, _, _ = server
    status, body = sent(port, head(port, f"GET {place} HTTP/1.1"))
    assert status in (400, 404)
    assert b"root:" not in body
    assert b"import" not in body


def test_a_name_that_was_made_to_point_here_is_not_answered(server):
    port, _, _ = server
    with Meanwhile(port):
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1:1", "\xff"):
            status, body = sent(port, head(port, "POST /api/draw HTTP/1.1", "Content-Length: 2", host=host) + b"{}")
            assert status in (400, 421)
            assert b"pictures" not in body


def test_another_page_may_not_ask(server):
    port, folder, _ = server
    with Meanwhile(port):
        for origin in (
            "https://evil.example",
            "null",
            f"http://127.0.0.1:{port + 1}",
            "file://",
            f"http://[::1]:{port}",
        ):
            for line in ("POST /api/runs/mine/stop HTTP/1.1", "PUT /api/folders/a/b.png HTTP/1.1"):
                status, _ = sent(port, head(port, line, f"Origin: {origin}", "Content-Length: 2") + b"{}")
                assert status == 403
    assert not (folder / "pictures" / "a").exists()


def test_what_is_no_http_is_no_trouble(server):
    port, _, _ = server
    with Meanwhile(port):
        for noise in (b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 5000, b"GET " + b"/" * 200_000, b"\r\n" * 1000):
            status, _ = sent(port, noise)
            assert status in (0, 400)


def test_more_than_it_can_do_is_refused_and_then_it_goes_on(server, monkeypatch):
    port, _, app = server
    monkeypatch.setattr(guard_module, "WAITING", 4)
    found = []

    def ask() -> None:
        found.append(sent(port, head(port, "POST /api/draw HTTP/1.1", "Content-Length: 9") + b'{"n": 64}')[0])

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(found) == 40
    assert set(found) <= {200, 429, 503}
    assert 200 in found
    assert {429, 503} & set(found)
    assert sent(port, head(port, "GET /health HTTP/1.1"))[0] == 200
    at_rest(app)
