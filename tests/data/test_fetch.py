"""A download ends with a whole copy or a clear error, never with half a copy. The server is on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from betabloom.data import Flowers102, fetch_flowers102, find_flowers102
from betabloom.errors import FetchError, UsageError

ARCHIVE = "102flowers.tgz"


def _tar(members: dict[str, bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link is not None:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return buffer.getvalue()


def _mat(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {key: np.array([values], dtype=np.uint16) for key, values in arrays.items()})
    return buffer.getvalue()


class Server:
    """Serves `files`; `trouble` maps a name to what goes wrong, in turn, before it goes well."""

    def __init__(self) -> None:
        picture = io.BytesIO()
        from PIL import Image

        Image.effect_noise((64, 64), 80).save(picture, format="JPEG")
        members = {f"jpg/image_{i:05d}.jpg": picture.getvalue() for i in range(1, 4)}
        self.files = {
            "imagelabels.mat": _mat(labels=[1, 2, 3]),
            "setid.mat": _mat(trnid=[1], valid=[2], tstid=[3]),
            ARCHIVE: _tar(members),
        }
        self.trouble: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""
        self.meet, self.halfway, self.hang = threading.Event(), threading.Event(), threading.Event()
        self.meet.set()

    @property
    def md5(self) -> dict[str, str]:
        return {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        name, wanted = request.path.rsplit("/", 1)[-1], request.headers.get("Range")
        self.asked.append((name, wanted))
        queue = self.trouble.get(name, [])
        trouble = queue.pop(0) if queue else ""
        content = self.files.get(name, b"")
        if trouble.isdigit():
            return request.send_error(int(trouble))
        if trouble == "redirect":
            request.send_response(302)
            request.send_header("Location", f"/elsewhere/{name}")
            return request.end_headers()
        if trouble in ("loop", "file"):
            request.send_response(302)
            request.send_header("Location", f"/flowers/{name}" if trouble == "loop" else "file:///etc/hostname")
            return request.end_headers()
        if trouble == "stall":
            time.sleep(0.5)
            return None
        self.meet.wait(5)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and trouble != "no resume" else 0
        if start and start >= len(content):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if trouble != "no length":
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        if trouble in ("half then stall", "half then hang"):
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            self.halfway.set()
            self.hang.wait(0.5 if trouble == "half then stall" else 20)
            return None
        body = body[: len(body) // 2] if trouble == "truncate" else body
        request.wfile.write(bytes(len(body)) if trouble == "corrupt" else body)
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    own = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            own.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own.url = f"http://127.0.0.1:{listening.server_port}/flowers/"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield own
    listening.shutdown()
    listening.server_close()
    thread.join(5)


Fetch = Callable[..., Path]


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Fetch:
    def run(**options: Any) -> Path:
        settings = {"base_url": server.url, "md5": server.md5, "timeout": 0.2, "pause": 0.0, **options}
        return fetch_flowers102(tmp_path / "data", **settings)

    return run


def test_a_whole_copy_arrives_and_is_not_fetched_again(fetch: Fetch, server: Server, tmp_path: Path) -> None:
    assert fetch() == tmp_path / "data" / "flowers-102"
    source = Flowers102(tmp_path / "data")
    assert [source.read(i).size for i in range(3)] == [(64, 64)] * 3
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["flowers-102"]
    asked = len(server.asked)
    assert fetch() == find_flowers102()
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    "trouble", ["truncate", "corrupt", "stall", "500", "503", "redirect", "no resume", "half then stall", "no length"]
)
def test_trouble_that_passes_is_overcome(fetch: Fetch, server: Server, trouble: str) -> None:
    server.trouble = {ARCHIVE: [trouble], "setid.mat": [trouble]}
    assert len(Flowers102(fetch())) == 3


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("corrupt", "damaged or a different one"),
        ("stall", "answer"),
        ("500", "answers 500"),
        ("404", "answers 404"),
        ("403", "answers 403"),
        ("loop", "answers 302.*infinite loop"),
        ("file", "answers 302.*not allowed"),
    ],
)
def test_trouble_that_stays_is_told_and_leaves_no_copy(
    fetch: Fetch, server: Server, tmp_path: Path, trouble: str, message: str
) -> None:
    server.trouble = {ARCHIVE: [trouble] * 9}
    with pytest.raises(FetchError, match=f"{ARCHIVE}.*{message}.*betabloom train drawn"):
        fetch()
    assert find_flowers102() is None
    assert not (tmp_path / "data" / "flowers-102").exists()


def test_an_interrupted_fetch_goes_on_where_it_stopped(fetch: Fetch, server: Server) -> None:
    server.trouble = {ARCHIVE: ["truncate"]}
    with pytest.raises(FetchError, match="broke off"):
        fetch(attempts=1)
    half = len(server.files[ARCHIVE]) // 2
    server.asked.clear()
    assert len(Flowers102(fetch())) == 3
    assert server.asked == [(ARCHIVE, f"bytes={half}-")]


KILLED = """
import json, sys
from betabloom.data import fetch_flowers102
fetch_flowers102(sys.argv[1], base_url=sys.argv[2], md5=json.loads(sys.argv[3]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_fetch_goes_on_where_it_stopped(fetch: Fetch, server: Server, tmp_path: Path) -> None:
    server.trouble = {ARCHIVE: ["half then hang"]}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), server.url, json.dumps(server.md5)]
    process = subprocess.Popen(command)
    assert server.halfway.wait(30)
    part, half = tmp_path / "data" / "flowers-102.part" / f"{ARCHIVE}.part", len(server.files[ARCHIVE]) // 2
    while not part.exists() or part.stat().st_size < half:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.hang.set()
    assert find_flowers102() is None
    server.asked.clear()
    assert len(Flowers102(fetch())) == 3
    assert server.asked == [(ARCHIVE, f"bytes={half}-")]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["flowers-102"]


def test_two_at_once_fetch_it_once(fetch: Fetch, server: Server, tmp_path: Path) -> None:
    server.meet.clear()
    done: list[Path] = []
    threads = [threading.Thread(target=lambda: done.append(fetch(timeout=5.0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    server.meet.set()
    for thread in threads:
        thread.join()
    assert done == [tmp_path / "data" / "flowers-102"] * 3
    assert sorted(server.asked) == sorted((name, None) for name in server.files)


def test_stopped_at_any_step_of_unpacking_it_is_whole_next_time(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(BaseException):
        pass

    rename = Path.replace
    for step in range(20):
        left = step

        def replace(path: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise StopError
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        try:
            fetch()
        except StopError:
            assert find_flowers102() is None
        else:
            break
        finally:
            monkeypatch.setattr(Path, "replace", rename)
    assert step >= 3
    assert len(Flowers102(fetch())) == 3
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["flowers-102"]


def test_what_was_killed_at_the_very_end_is_cleaned_up(fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    (tmp_path / "data" / "flowers-102.part" / "unpack-1").mkdir(parents=True)
    fetch()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["flowers-102"]


def test_a_server_that_sends_without_end_is_cut_off(
    fetch: Fetch, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("betabloom.data.sources.fetch._LARGEST", 1 << 20)
    good, server.files[ARCHIVE] = server.md5, bytes(2 << 20)
    with pytest.raises(FetchError, match="sends more than the whole data set"):
        fetch(md5=good)
    assert find_flowers102() is None
    assert not list(tmp_path.rglob(f"{ARCHIVE}*"))


def test_a_server_that_cannot_resume_starts_anew(fetch: Fetch, server: Server) -> None:
    server.trouble = {ARCHIVE: ["truncate", "no resume"]}
    assert len(Flowers102(fetch())) == 3


@pytest.mark.parametrize("name", ["../escaped.jpg", "/tmp/escaped.jpg", "jpg/../../escaped.jpg"])
def test_an_archive_that_writes_elsewhere_is_refused(fetch: Fetch, server: Server, tmp_path: Path, name: str) -> None:
    server.files[ARCHIVE] = _tar({"jpg/a.jpg": b"a", name: b"b"})
    with pytest.raises(FetchError, match="outside its folder"):
        fetch()
    assert not list(tmp_path.rglob("escaped.jpg"))
    assert find_flowers102() is None


def test_an_archive_with_a_link_is_refused(fetch: Fetch, server: Server) -> None:
    server.files[ARCHIVE] = _tar({"jpg/a.jpg": b"a"}, link="jpg/b.jpg")
    with pytest.raises(FetchError, match="is a link or a device"):
        fetch()
    assert find_flowers102() is None


def test_a_half_copy_of_someone_else_is_left_alone(fetch: Fetch, tmp_path: Path) -> None:
    kept = tmp_path / "data" / "flowers-102" / "jpg" / "kept.jpg"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    with pytest.raises(FetchError, match="holds part of a copy"):
        fetch()
    assert kept.read_bytes() == b"mine"


def test_progress_counts_bytes(fetch: Fetch, server: Server) -> None:
    seen: list[tuple[int, int]] = []
    fetch(progress=lambda done, total, _: seen.append((done, total)))
    assert seen[-1] == (len(server.files[ARCHIVE]),) * 2


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="https://"):
        fetch_flowers102(tmp_path, base_url="file:///etc/")
