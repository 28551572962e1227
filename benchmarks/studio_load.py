"""How much of the bare decoder's throughput reaches clients of the studio, and what happens when they ask for too much.

    python benchmarks/studio_load.py [MODEL] [--seconds 60] [--concurrency 32] [--codes 8]

The server runs in a process of its own, and so do the clients; all use the same cores, as they do on a person's
machine. First the bare decoder's batched throughput is measured (64 codes at a time, in this process, with the server
not yet started), then `concurrency` connections ask for `codes` pictures each, again and again; at the end 400 ask at
once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np


def bare(path: str | None, seconds: float) -> tuple[float, list[list[float]]]:
    """Pictures a second that the decoder draws, 64 at a time; and the codes."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from betabloom.model.without_torch import open_without_torch

    model = open_without_torch(path)
    if model is None:
        raise SystemExit("This model is not decoded without torch.")
    codes = model.draw(64, 1)
    model.decode(codes)
    begun, drawn = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        drawn += len(model.decode(codes))
    return drawn / (time.perf_counter() - begun), np.round(codes, 4).tolist()


async def asked(reader, writer, request: bytes) -> int:
    """Send a request, read the answer to its end; its status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split(b" ", 2)[1])


def request_of(port: int, codes: list[list[float]]) -> bytes:
    body = json.dumps({"codes": codes}).encode()
    head = f"POST /api/decode HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def load(
    port: int, request: bytes, concurrency: int, seconds: float
) -> tuple[list[float], dict[int, int], float]:
    """Times of requests that were answered with pictures, statuses, and the seconds that it took."""
    times, statuses = [], {}
    begun = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - begun < seconds:
            sent = time.perf_counter()
            try:
                status = await asyncio.wait_for(asked(reader, writer, request), 60)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                status = 0  # lost
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                times.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return times, statuses, time.perf_counter() - begun


async def burst(port: int, request: bytes, count: int) -> dict[int, int]:
    """Statuses of so many requests at once; 0 for those that got no answer."""

    async def one() -> int:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            status = await asyncio.wait_for(asked(reader, writer, request), 120)
            writer.close()
        except (OSError, StopIteration, RuntimeError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            status = 0
        return status

    found = await asyncio.gather(*(one() for _ in range(count)))
    return {status: found.count(status) for status in sorted(set(found))}


def memory(pid: int) -> float:
    """Megabytes that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--codes", type=int, default=8, help="pictures that each request asks for")
    given = parser.parse_args()
    rate, codes = bare(given.model, min(15, given.seconds))
    command = [sys.executable, "-m", "betabloom", "studio", "--port", "0", "--no-browser", "--json"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command + ([given.model] if given.model else []), stdout=subprocess.PIPE, cwd=folder
        ) as server,
    ):
        port = int(json.loads(server.stdout.readline())["address"].rsplit(":", 1)[1].strip("/"))
        try:
            measured = against(port, server.pid, codes, given)
        finally:
            server.terminate()
    print(json.dumps({"bare_pictures_per_second": round(rate, 1), **shares(measured, rate)}, indent=2))


def shares(found: dict[str, Any], rate: float) -> dict[str, Any]:
    """The same with the share of the bare decoder's throughput that reached clients."""
    return {**found, "share": round(found["served_pictures_per_second"] / rate, 3)}


def against(port: int, pid: int, codes: list[list[float]], given: argparse.Namespace) -> dict[str, Any]:
    """What clients see of a server: throughput, times, memory, losses, and what it does with too much."""
    request = request_of(port, codes[: given.codes])
    until_it_answers(port)
    asyncio.run(load(port, request, given.concurrency, 5))
    before = memory(pid)
    times, statuses, took = asyncio.run(load(port, request, given.concurrency, given.seconds))
    after = memory(pid)
    overload = asyncio.run(burst(port, request_of(port, codes), 400))
    recovered = asyncio.run(burst(port, request, 1))
    return {
        "served_pictures_per_second": round(given.codes * len(times) / took, 1),
        "concurrency": given.concurrency,
        "codes_per_request": given.codes,
        "p50_ms": round(1000 * float(np.quantile(times, 0.5)), 1),
        "p99_ms": round(1000 * float(np.quantile(times, 0.99)), 1),
        "rss_mb": [round(before, 1), round(after, 1)],
        "statuses": statuses,
        "lost": statuses.get(0, 0),
        "overload_statuses": overload,
        "recovered": recovered == {200: 1},
    }


def until_it_answers(port: int) -> None:
    """Wait for the server, 30 seconds at most."""
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The studio does not answer.")


if __name__ == "__main__":
    main()
