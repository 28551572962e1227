"""The studio's routes and their guard, without a browser."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra 'studio' is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from starlette.testclient import TestClient

from betabloom.errors import UsageError
from betabloom.stages.record import Record
from betabloom.studio import atelier as atelier_module
from betabloom.studio import guard as guard_module
from betabloom.studio import jobs as jobs_module
from betabloom.studio import pictures as pictures_module
from betabloom.studio.app import create_app
from betabloom.studio.atelier import Atelier, Decoder
from betabloom.studio.jobs import Jobs
from betabloom.studio.pictures import Pictures
from betabloom.studio.routes import OF_MODEL, ROUTES

HOST = "127.0.0.1:8190"


def post(ask, path, **body):
    answer = ask.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def picture_of(address: str) -> np.ndarray:
    import base64

    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image)


def photo(size=(50, 40)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_what_is_drawn_is_what_generate_draws(ask, model_folder):
    from betabloom.model.model import load

    drawn = post(ask, "/api/draw", n=5, seed=3, start=2)
    expected = load(model_folder).generate(5, seed=3, start=2)
    off = [np.abs(picture_of(a).astype(int) - b).max() for a, b in zip(drawn["pictures"], expected, strict=True)]
    assert max(off) <= 1
    assert post(ask, "/api/decode", codes=drawn["codes"])["pictures"] == drawn["pictures"]
    assert "--seed 3 --start 2" in drawn["command"]


def test_every_tool_answers_with_codes_that_are_decoded(ask):
    codes = post(ask, "/api/draw", n=4)["codes"]
    made = [
        post(ask, "/api/vary", code=codes[0], n=3),
        post(ask, "/api/breed", parents=codes[:2], n=3),
        post(ask, "/api/more-like", good=codes[:2], bad=codes[2:], n=3),
    ]
    for each in made:
        assert len(each["codes"]) == len(each["pictures"]) == len(each["usual"]) == 3
        again = post(ask, "/api/decode", codes=each["codes"])["pictures"]
        pairs = zip(again, each["pictures"], strict=True)
        assert max(np.abs(picture_of(a).astype(int) - picture_of(b)).max() for a, b in pairs) <= 1  # codes are rounded
    places = np.array(post(ask, "/api/map")["places"])
    assert (np.abs(places) <= 1).all()
    assert places.std(0).min() > 0.3
    film = ask.post("/api/film", json={"codes": codes, "frames": 8, "format": "GIF"})
    with Image.open(io.BytesIO(film.content)) as image:
        assert (image.format, image.n_frames) == ("GIF", 8)
    assert len(ask.get("/api/directions").json()["directions"]) > 3


def test_varying_nothing_changes_nothing_and_more_goes_further(ask):
    code = post(ask, "/api/draw", n=1)["codes"][0]
    far = [
        np.abs(np.subtract(post(ask, "/api/vary", code=code, amount=a, n=8)["codes"], code)).mean()
        for a in (0, 0.5, 1, 2)
    ]
    assert far[0] < 1e-4
    assert far == sorted(far)


def test_a_photo_is_encoded_as_the_library_does(ask, model_folder):
    from betabloom.model.model import load

    found = ask.post("/api/encode", content=photo()).json()
    model = load(model_folder)
    mean, log_var = model.encode(picture_of(found["picture"])[None])
    np.testing.assert_allclose(found["code"], mean[0], atol=1e-3)
    np.testing.assert_allclose(found["sigma"], np.exp(0.5 * log_var[0]), atol=1e-3)
    assert min(found["nats"]) >= 0


def test_what_is_asked_of_another_model_is_refused(ask):
    drawn, fingerprint = post(ask, "/api/draw", n=2), ask.get("/api/model").json()["fingerprint"]
    for path, body in (("/api/decode", {"codes": drawn["codes"]}), ("/api/draw", {"n": 1})):
        assert ask.post(path, json=body, headers={"betabloom-model": fingerprint}).status_code == 200
        refused = ask.post(path, json=body, headers={"betabloom-model": "0" * 16})
        assert refused.status_code == 409
        assert refused.json()["error"] == "Another model was opened in this studio. Reload the page."
    assert ask.get("/api/models", headers={"betabloom-model": "0" * 16}).status_code == 200
    paths = ask.get("/openapi.json").json()["paths"]
    assert paths["/api/decode"]["post"]["parameters"][0]["name"] == "betabloom-model"
    assert set(paths) >= OF_MODEL


def test_the_model_that_was_chosen_last_stays(model_folder, tmp_path, monkeypatch):
    class Slow(Atelier):
        def __init__(self, path) -> None:
            time.sleep(0.3 if path.endswith("first") else 0)
            super().__init__(path)

    for name in ("first", "last"):
        shutil.copytree(model_folder, tmp_path / name)
    pictures = Pictures(Atelier(model_folder), Jobs(tmp_path))
    monkeypatch.setattr(pictures_module, "Atelier", Slow)

    async def both():
        await asyncio.gather(*(pictures.post_model(str(tmp_path / name)) for name in ("first", "last")))

    with ThreadPoolExecutor() as threads:
        threads.submit(asyncio.run, both()).result(30)
    assert pictures.atelier.path.endswith("last")
    pictures.atelier.close()


def test_neither_a_photo_nor_another_model_waits_for_a_search_of_directions(model_folder, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def found(model, space):
        begun.set()
        go_on.wait(30)
        return []

    monkeypatch.setattr(atelier_module, "stored_directions", found)
    searching = Atelier(model_folder)
    assert begun.wait(30)
    monkeypatch.setattr(atelier_module, "stored_directions", lambda model, space: [])
    other = Atelier(model_folder)
    with ThreadPoolExecutor() as threads:
        try:
            assert threads.submit(lambda: other.directions).result(30) == []
            assert len(threads.submit(searching.encode, photo()).result(30)["code"]) == 8
        finally:
            go_on.set()
    searching.close()
    other.close()


def test_a_png_brings_its_state_back(ask):
    code = post(ask, "/api/draw", n=1, seed=9)["codes"][0]
    png = ask.post("/api/png", json={"code": code, "scale": 4}).content
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (128, 128)
    np.testing.assert_allclose(ask.post("/api/restore", content=png).json()["codes"][0], code, atol=1e-4)
    assert ask.post("/api/restore", content=photo()).status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/api/draw", {"n": 0}, "n: 0 is less than the minimum"),
        ("/api/draw", {"n": 10**9}, "maximum"),
        ("/api/draw", {"seed": -1}, "minimum"),
        ("/api/draw", {"temperature": "hot"}, "temperature"),
        ("/api/draw", {"nonsense": 1}, "nonsense"),
        ("/api/draw", {"sampler": "psychic"}, "psychic"),
        ("/api/draw", [1], "is not of type 'object'"),
        ("/api/decode", {}, "'codes' is a required property"),
        ("/api/decode", {"codes": [[1.0, 2.0]]}, "has 8 numbers"),
        ("/api/decode", {"codes": [[1e9] * 8]}, "maximum"),
        ("/api/model", {"name": "../../etc"}, "There is no model named"),
        ("/api/runs", {"source": "x", "name": "../up", "budget": "1m"}, "name"),
        ("/api/inspect", {"source": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(ask, path, body, says):
    answer = ask.post(path, json=body)
    assert answer.status_code in (404, 422), answer.text
    assert says in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_bodies_that_are_no_json_are_refused(ask):
    for body in (b"{", b'{"n": NaN}', b'{"temperature": 1e999}', b"[" * 100_000, b"\xff\xfe"):
        answer = ask.post("/api/draw", content=body)
        assert answer.status_code in (400, 422), (body[:20], answer.text)
    assert ask.get("/health").json()["ok"]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, photo()[:-40] + b"x" * 20])
def test_what_is_no_picture_changes_nothing(ask, content):
    answer = ask.post("/api/encode", content=content)
    assert answer.status_code in (200, 422)
    assert ask.get("/health").status_code == 200


def test_a_bomb_of_a_picture_is_refused(ask):
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")  # 50 kB, and five times the pixels that are allowed
    assert ask.post("/api/encode", content=file.getvalue()).status_code == 422


def test_other_names_and_other_pages_are_not_answered(ask):
    assert ask.get("/health", headers={"host": "evil.example"}).status_code == 421
    assert ask.post("/api/draw", json={}, headers={"origin": "https://evil.example"}).status_code == 403
    assert ask.post("/api/draw", json={}, headers={"origin": "null"}).status_code == 403
    assert ask.post("/api/draw", json={"n": 1}, headers={"origin": f"http://{HOST}"}).status_code == 200


def test_what_is_too_large_is_refused_before_it_is_there(ask):
    assert ask.post("/api/encode", content=b"x", headers={"content-length": str(1 << 30)}).status_code == 413
    assert ask.post("/api/encode", content=(b"x" * (1 << 20) for _ in range(40))).status_code == 413


def test_who_sends_too_slowly_is_let_go(ask, monkeypatch):
    monkeypatch.setattr(guard_module, "PATIENCE", 0.05)
    answers = []

    async def never():
        await asyncio.sleep(60)

    async def sent(message):
        answers.append(message)

    headers = [(b"host", HOST.encode()), (b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/api/draw", "headers": headers, "query_string": b""}
    asyncio.run(ask.app(scope, never, sent))
    assert answers[0]["status"] == 408
    assert ask.app.busy == 0


def test_a_source_that_looks_like_an_option_is_none(ask, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(Jobs, "_begin", lambda self, run, words: begun.append(words))
    post(ask, "/api/runs", source="--resume=/somewhere", name="mine")
    assert begun[0][-2:] == ["--", "--resume=/somewhere"]
    post(ask, "/api/runs", source="photos", name="yours", model="--device=cuda")
    assert "--from=--device=cuda" in begun[1]


def test_a_token_is_needed_where_there_is_one(model_folder, tmp_path):
    atelier = Atelier(model_folder)
    client = TestClient(create_app(atelier, tmp_path, [HOST], "secret"), base_url=f"http://{HOST}")
    assert client.get("/api/models").status_code == 401
    assert client.get("/api/models", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/api/models", headers={"authorization": "Bearer secret"}).status_code == 200
    assert client.get("/?token=wrong").status_code == 401
    opened = client.get("/?token=secret")
    assert opened.status_code == 200
    assert "HttpOnly" in opened.headers["set-cookie"]
    assert client.get("/api/models").status_code == 200  # with the cookie
    atelier.close()


def test_pages_may_load_nothing_from_elsewhere(ask):
    answer = ask.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("index.html", "app.js", "style.css"):
        text = (Path(atelier_module.__file__).parent / "static" / path).read_text(encoding="utf-8")
        assert "https://" not in text
        assert "style=" not in text


def test_when_too_many_wait_the_others_are_told_to_come_later(ask, monkeypatch):
    monkeypatch.setattr(guard_module, "WAITING", 0)
    answer = ask.get("/api/models")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    monkeypatch.undo()
    assert ask.get("/api/models").status_code == 200


def test_an_error_of_the_program_is_not_told_to_clients(ask, monkeypatch):
    monkeypatch.setattr(Atelier, "draw", lambda *_: 1 / 0)
    answer = ask.post("/api/draw", json={})
    assert answer.status_code == 500
    assert "division" not in answer.text


def test_what_waits_is_decoded_together_and_each_gets_its_own():
    sizes = []

    def decode(codes):
        sizes.append(len(codes))
        time.sleep(0.02)
        return codes * 2

    decoder = Decoder(decode)
    asked = [np.full((1, 3), i, np.float32) for i in range(40)]
    futures = [decoder(codes) for codes in asked]
    for codes, future in zip(asked, futures, strict=True):
        np.testing.assert_array_equal(future.result(10), codes * 2)
    assert sum(sizes) == 40
    assert len(sizes) < 10
    decoder.close()


def test_a_full_queue_refuses_and_an_error_reaches_who_waits(monkeypatch):
    monkeypatch.setattr(atelier_module, "QUEUED", 2)

    def slow(codes):
        time.sleep(0.3)
        raise ValueError("broken")

    decoder = Decoder(slow)
    code = np.zeros((1, 2), np.float32)
    first = decoder(code)
    with pytest.raises(atelier_module.Busy, match="Try again"):
        [decoder(code) for _ in range(10)]
    with pytest.raises(ValueError, match="broken"):
        first.result(10)


def test_the_description_is_of_all_routes(ask):
    paths = ask.get("/openapi.json").json()["paths"]
    described = {(method, path) for path, methods in paths.items() for method in methods}
    assert described == {(each.method.lower(), each.path) for each in ROUTES}
    served = {
        (method.lower(), route.path)
        for route in ask.app.app.routes
        for method in getattr(route, "methods", ()) or ()
        if method != "HEAD"
    }
    assert described == served
    for path, methods in paths.items():
        for method, facts in methods.items():
            assert facts["summary"].endswith("."), (method, path)
            assert {"200", "422", "429", "503"} <= set(facts["responses"])


def test_metrics_count(ask):
    post(ask, "/api/draw", n=3)
    text = ask.get("/metrics").text
    assert "betabloom_pictures_decoded_total 3" in text
    assert 'betabloom_requests_total{status="200"} 1' in text


def test_pictures_are_kept_in_folders_and_none_is_replaced(ask, tmp_path):
    assert ask.put("/api/folders/mine/a.png", content=photo()).status_code == 200
    assert ask.put("/api/folders/mine/a.png", content=photo((9, 9))).status_code == 422
    assert ask.put("/api/folders/mine/a.sh", content=b"#!").status_code == 422
    assert ask.put("/api/folders/..%2F..%2Fup/a.png", content=photo()).status_code in (404, 405, 422)
    assert (tmp_path / "pictures/mine/a.png").read_bytes() == photo()
    assert ask.get("/api/folders").json()["folders"][0]["pictures"] == 1


def wait_for(ask, name, state, seconds=90):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        run = ask.get(f"/api/runs/{name}").json()
        if run["state"] == state:
            return run
        time.sleep(0.3)
    raise AssertionError(run)


def test_a_training_goes_on_without_the_server_and_can_be_stopped_and_resumed(ask, model_folder, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for i in range(24):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
            tmp_path / "photos" / f"{i}.png"
        )
    settings = ["--preset", "tiny", "--size", "16", "--set", "widths=8,16", "--set", "batch=8"]
    begin = Jobs._begin

    def small(self, run, words):
        begin(self, run, [words[0], *(settings if "-o" in words else []), *words[1:]])

    monkeypatch.setattr(Jobs, "_begin", small)
    assert post(ask, "/api/runs", source=str(tmp_path / "photos"), name="mine", budget="600s")["state"] == "running"
    assert ask.post("/api/runs", json={"source": "x", "name": "other"}).status_code == 422  # one at a time
    until = time.monotonic() + 90
    while len(ask.get("/api/runs/mine").json()["records"]) < 2 and time.monotonic() < until:
        time.sleep(0.3)
    again = Atelier(model_folder)  # another server, on the same folder
    other = TestClient(create_app(again, tmp_path, [HOST]), base_url=f"http://{HOST}")
    assert other.get("/api/runs/mine").json()["state"] == "running"
    assert post(other, "/api/runs/mine/stop")["state"] == "stopping"
    run = wait_for(other, "mine", "stopped")
    steps = max(record["step"] for record in run["records"])
    assert post(other, "/api/runs/mine/resume")["state"] == "running"
    until = time.monotonic() + 90
    while max(r["step"] for r in other.get("/api/runs/mine").json()["records"]) <= steps and time.monotonic() < until:
        time.sleep(0.3)
    assert max(r["step"] for r in other.get("/api/runs/mine").json()["records"]) > steps
    post(other, "/api/runs/mine/stop")
    wait_for(other, "mine", "stopped")
    again.close()


def test_one_training_is_started_where_two_are_asked_for_at_once(tmp_path, monkeypatch):
    def begin(self, run, words):
        time.sleep(0.2)
        run.with_name(f"{run.name}.log").touch()
        run.with_name(f"{run.name}.pid").write_text(f"{os.getpid()} {jobs_module._born(os.getpid())}")

    monkeypatch.setattr(Jobs, "_begin", begin)
    jobs = Jobs(tmp_path)
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(jobs.start, "photos", name, "1m") for name in ("mine", "yours")]
    assert sorted(type(each.exception()) for each in asked if each.exception()) == [UsageError]
    assert len(jobs.all()) == 1


def test_a_run_in_stages_is_finished_when_all_of_them_are_done(ask, tmp_path):
    run = tmp_path / "runs" / "mine"
    (run / "model").mkdir(parents=True)
    run.with_name("mine.log").touch()
    (run / "model" / "samples.png").touch()  # the best model so far is there after each stage
    assert ask.get("/api/runs/mine").json()["state"] == "finished"
    record = Record(run)
    record.write()
    assert ask.get("/api/runs/mine").json()["state"] == "stopped"
    record.finished = True
    record.write()
    assert ask.get("/api/runs/mine").json()["state"] == "finished"


def test_the_command_serves_and_ends_when_asked(model_folder, tmp_path):
    command = [sys.executable, "-m", "betabloom", "studio", str(model_folder), "--port", "0", "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    import urllib.request

    address = json.loads(process.stdout.readline())["address"]
    with urllib.request.urlopen(f"{address}health", timeout=60) as answer:  # at once: it listens before it says so
        assert json.load(answer)["ok"]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 130, -2)
    process.stdout.close()


LONG = """
import sys, time
from pathlib import Path
from betabloom.studio import serve
from betabloom.studio.atelier import Atelier
serve.GRACE = 0.3
Atelier.draw = lambda *_: print("searching", flush=True) or time.sleep(60)
serve.serve(sys.argv[1], "127.0.0.1", 0, Path("studio"), browser=False, told=lambda at: print(at, flush=True))
"""


def test_the_studio_ends_while_something_long_is_searched_for(model_folder, tmp_path):
    command = [sys.executable, "-c", LONG, str(model_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        port = int(process.stdout.readline().strip().rpartition(":")[2].strip("/"))
        with socket.create_connection(("127.0.0.1", port)) as asking:
            head = f"POST /api/draw HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\n\r\n{{}}"
            asking.sendall(head.encode())
            assert process.stdout.readline().strip() == "searching"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
