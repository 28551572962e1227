"""Several processes at one training: the same batches, the same step, the same run as one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from betabloom import data
from betabloom.data.store.store import digest_of
from betabloom.errors import BetabloomError, UsageError
from betabloom.system import ranks
from betabloom.training import loop
from betabloom.training.batches import batch
from betabloom.training.distributed import distributed
from betabloom.training.group import Group
from betabloom.training.resume import changed_config
from betabloom.training.setup import make_task, set_up

if TYPE_CHECKING:
    from betabloom.data.store.lanes import LanedBatches
    from betabloom.training.state import Run

CHOICES = {
    "optimal": {},
    "bernoulli, with a floor": {"likelihood": "bernoulli"},
    "a learned scale": {"likelihood": "gaussian-learned"},
    "total correlation": {"regulariser": "total-correlation"},
    "capacity": {"regulariser": "capacity"},
    "a learned prior": {"prior": "mixture"},
    "pseudo-pictures": {"prior": "vamp"},
    "full covariances": {"posterior": "full"},
    "a point": {"posterior": "point"},
    "in parts": {"micro_batches": 2},
    "residual": {"family": "residual", "optimiser": "muon"},
}
TRAINING = [
    "train", "drawn:60", "--preset", "tiny", "--size", "16", "--latents", "6", "--device", "cpu", "--precision", "fp32",
    *("--set=family=conv", "--set=widths=8,16", "--set=batch=16", "--set=validations=2", "--set=warmup_steps=4"),
]  # fmt: skip


class Threads:
    """Two members of a group in one process: threads that exchange tensors."""

    def __init__(self) -> None:
        self.barrier, self.tensors = threading.Barrier(2, timeout=30), dict[int, torch.Tensor]()

    def exchanged(self, rank: int, tensor: torch.Tensor) -> list[torch.Tensor]:
        self.tensors[rank] = tensor.detach().clone()
        self.barrier.wait()
        found = [self.tensors[0], self.tensors[1]]
        self.barrier.wait()
        return found


@dataclasses.dataclass(frozen=True)
class Member(Group):
    threads: Threads = dataclasses.field(default_factory=Threads)

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.threads.exchanged(self.rank, tensor))

    def add_up(self, tensor: torch.Tensor) -> None:
        tensor.copy_(sum(self.threads.exchanged(self.rank, tensor)))


def in_group(run: Run, group: Group) -> Run:
    return dataclasses.replace(run, task=dataclasses.replace(run.task, group=group))


@pytest.mark.parametrize("name", CHOICES)
def test_the_gradient_of_two_halves_is_that_of_the_whole_batch(name, small_store, tiny_config):
    config = tiny_config.replace({"batch": 24, **CHOICES[name]})
    one, first, second = (set_up(make_task(small_store, config, None)) for _ in range(3))
    for run in (one, first, second):
        run.state.vae.train()
    threads, values = Threads(), {}
    members = [in_group(run, Member(i, 2, i, threads=threads)) for i, run in enumerate((first, second))]

    def work(run: Run) -> None:
        group = run.task.group
        values[group.rank] = distributed(group)(run, *batch(run))

    both = [threading.Thread(target=work, args=(run,)) for run in members]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    alone = one.tools.gradients(one, *batch(one))
    for rank in (0, 1):
        torch.testing.assert_close(values[rank], alone, rtol=1e-5, atol=1e-4)
        for mine, theirs in zip(members[rank].state.vae.parameters(), one.state.vae.parameters(), strict=True):
            assert (mine.grad is None) == (theirs.grad is None)
            if mine.grad is not None:
                assert mine.grad.stride() == mine.stride()
                size = max(1.0, theirs.grad.abs().max().item())
                torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5 * size)
        for mine, theirs in zip(members[rank].state.vae.buffers(), one.state.vae.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_pseudo_pictures_and_large_layers_do_not_go_with_several_processes(small_store, tiny_config, monkeypatch):
    monkeypatch.setattr("betabloom.networks.large_linear.LARGE", 1)
    for prior in ("standard", "vamp"):
        task = make_task(
            small_store, tiny_config.replace({"family": "conv", "prior": prior, "optimiser": "muon"}), None
        )
        set_up(task)
        shared = dataclasses.replace(task, group=Group(0, 2, 0))
        if prior == "standard":
            set_up(shared)
        else:
            with pytest.raises(UsageError, match=r"VampPrior.*--set prior=mixture"):
                set_up(shared)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_processes_sees_the_same_batches_and_every_picture_once_an_epoch(world, small_store, tiny_config):
    run = set_up(make_task(small_store, tiny_config.replace({"batch": 8, "flip": False}), None))
    members = [in_group(run, Group(rank, world, rank)) for rank in range(world)]
    seen: Counter[int] = Counter()
    images = len(run.task.train_rows)
    for step in range(images):  # eight epochs
        run.state.step = step
        whole, noise = batch(run)
        for rank, member in enumerate(members):
            x, own_noise = batch(member)
            assert torch.equal(x, whole[rank::world])
            assert torch.equal(own_noise, noise[rank::world])
            pixels = (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1)
            seen.update(digest_of(picture.numpy()) for picture in pixels)
    learned = Counter(small_store.digests[run.task.train_rows].tolist())
    assert seen == Counter({digest: 8 * times for digest, times in learned.items()})


def shards_of(count: int, folder, shards: int) -> str:
    import io
    import tarfile

    from PIL import Image

    rng = np.random.default_rng(0)
    for shard in range(shards):
        with tarfile.open(folder / f"part-{shard:03d}.tar", "w") as tar:
            for i in range(shard, count, shards):
                file = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
                info = tarfile.TarInfo(f"{i:05d}.png")
                info.size = file.tell()
                tar.addfile(info, io.BytesIO(file.getvalue()))
    return str(folder / "part-*.tar")


def lanes_of(streamed: data.Streamed, world: int) -> list[LanedBatches]:
    return [streamed.batches(8, 3, 0.1, 64, lanes=4, part=(rank, world)) for rank in range(world)]


def whole_batch(parts: list[LanedBatches]) -> np.ndarray:
    world = len(parts)
    batch = np.empty((8, 8, 8, 3), np.uint8)
    for rank, part in enumerate(parts):
        batch[rank::world] = next(part)
    return batch


def test_a_stream_is_shared_by_any_number_of_processes_and_goes_on_with_another(tmp_path):
    streamed = data.Streamed(data.open_stream(shards_of(90, tmp_path, 6)), data.Pipeline.named("square", (8, 8)))
    train, _ = streamed.store.split("all", 0.1)
    batches = {
        world: [whole_batch(parts) for _ in range(30)] for world in (1, 2, 4) for parts in [lanes_of(streamed, world)]
    }
    assert all(np.array_equal(np.stack(batches[1]), np.stack(batches[world])) for world in (2, 4))
    first = Counter(digest_of(picture) for each in batches[1] for picture in each)
    assert first.keys() == set(streamed.store.digests[train].tolist())
    assert max(first.values()) - min(first.values()) <= 2  # lanes that differ in length come round at different times
    two = lanes_of(streamed, 2)
    for _ in range(11):
        whole_batch(two)
    lanes = {lane: position for part in two for lane, position in part.position["lanes"].items()}
    four = lanes_of(streamed, 4)
    for part in four:
        part.go_to(json.loads(json.dumps({"count": 4, "lanes": lanes})))
    assert all(np.array_equal(whole_batch(four), later) for later in batches[1][11:])


def test_lanes_that_cannot_be_shared_say_what_to_type(tmp_path):
    streamed = data.Streamed(data.open_stream(shards_of(20, tmp_path, 2)), data.Pipeline.named("square", (8, 8)))
    with pytest.raises(UsageError, match="--set lanes=3"):
        streamed.batches(8, lanes=4, part=(0, 3))
    with pytest.raises(UsageError, match="--set batch=12"):
        streamed.batches(9, lanes=4, part=(0, 2))


def test_who_a_process_is():
    assert ranks.present_rank({}) is None
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert ranks.present_rank(torchrun) == ranks.Rank(3, 4, 1, 2)
    step = {
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_PROCID": "9",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    }
    assert ranks.present_rank(step) == ranks.Rank(9, 16, 1, 8)
    assert ranks.present_rank({"SLURM_NTASKS": "16", "SLURM_PROCID": "0"}) is None  # a batch script, not a step
    hosts = {"gpu[003-004,9],cpu1": "gpu003", "node7": "node7", "a1,a2": "a1", "n[5,7]-x": "n5-x"}
    assert {nodes: ranks.first_host(nodes) for nodes in hosts} == hosts


def test_several_machines_have_to_know_where_they_meet(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match="MASTER_ADDR"):
        ranks.start_processes(["--version"], 1, nodes=2)


def test_what_the_first_process_says_is_all_that_is_said(capfd):
    ranks.start_processes(["--version"], 2)
    with pytest.raises(SystemExit) as left:
        ranks.start_processes(["trainx"], 2)
    assert left.value.code == 2
    out, err = capfd.readouterr()
    assert out.count("betabloom ") == 1
    assert err.count("no command 'trainx'") == 1


def test_a_process_that_is_killed_is_named():
    assert "SIGKILL" in ranks._why(1, 2, -9, "")
    assert ranks._why(1, 2, 1, "the disk is full.") == "Process 1 of 2 failed: the disk is full."


def test_the_third_signal_ends_what_hears_none():
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with (
        ranks._passing_signals_on() as children,
        subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as child,
    ):
        children.append(child)
        child.stdout.readline()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.1)
            assert child.poll() is None
        signal.raise_signal(signal.SIGTERM)
        assert child.wait(20) == -signal.SIGKILL


def started(out, devices: int, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "betabloom", *TRAINING, "-o", str(out), "--devices", str(devices), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def losses(out) -> dict[tuple[int, str], float]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return {(each["step"], each["split"]): each["loss"] for each in map(json.loads, lines)}


def test_two_processes_train_as_one_and_one_goes_on_with_their_run(tmp_path, caplog):
    command = started(tmp_path / "two", 2, "--steps", "20")
    said = command.communicate(timeout=110)[1]
    assert command.returncode == 0, said
    config = changed_config(tmp_path / "two", {})
    source = data.open_source(config.data.source)
    store = data.prepare(source, data.Pipeline.named("square", (16, 16)), cache=tmp_path)
    one = loop.train(store, config, tmp_path / "one")
    two = losses(tmp_path / "two")
    assert losses(tmp_path / "one").keys() == two.keys()
    assert losses(tmp_path / "one") == pytest.approx(two, rel=1e-4)
    assert one.training["images_seen"] == 320
    longer = [changed_config(tmp_path / name, {"steps": 30}) for name in ("one", "two")]
    caplog.set_level("INFO")
    models = [loop.train(store, c, tmp_path / n, resume=True) for c, n in zip(longer, ("one", "two"), strict=True)]
    for said in (caplog.text, (tmp_path / "two" / "log.txt").read_text()):
        assert said.count("was trained by 2 processes and goes on with 1") == 1
    for mine, theirs in zip(*(model.vae.state_dict().values() for model in models), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_only_at_first_a_time_budget_chooses_settings(small_store, tiny_config, tmp_path, monkeypatch):
    """In a process that reads no checkpoint, too: what it would be told then is meant for something else."""

    class ReachedError(Exception):
        pass

    def reached(task):
        raise ReachedError

    monkeypatch.setattr(loop, "present_group", lambda: Group(1, 2, 1))
    monkeypatch.setattr(loop, "choose", lambda *_: pytest.fail("it chose again"))
    monkeypatch.setattr(loop, "set_up", reached)
    train = dataclasses.replace(tiny_config.train, budget=60, steps=0)
    with pytest.raises(ReachedError):
        loop.train(small_store, dataclasses.replace(tiny_config, train=train), tmp_path, resume=True)


@pytest.mark.slow
def test_two_processes_go_on_with_a_run_that_has_a_time_budget(tmp_path):
    begun = started(tmp_path / "run", 2, "--budget", "3s")
    said = begun.communicate(timeout=110)[1]
    assert begun.returncode == 0, said
    resume = [sys.executable, "-m", "betabloom", "train", "--resume", str(tmp_path / "run"), "--devices", "2"]
    again = subprocess.run(resume, capture_output=True, text=True, timeout=110)
    assert again.returncode == 0, again.stderr
    assert "is finished" in again.stderr


@pytest.mark.slow
def test_the_loss_curve_of_200_steps_is_that_of_one_process(tmp_path):
    every = "import betabloom.training.loop as l; l.LOG_EVERY = 1; from betabloom.cli.main import main; main()"
    common = [*TRAINING, "--steps", "200", "--set=family=residual"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}
    runs = []
    for name, world in (("one", 1), ("two", 2)):
        for rank in range(world):
            own = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
            words = [sys.executable, "-c", every, *common, "-o", str(tmp_path / name)]
            runs.append(subprocess.Popen(words, env={**environment, **own}, stderr=subprocess.DEVNULL))
    assert [run.wait(400) for run in runs] == [0, 0, 0]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) >= 200
    assert two == pytest.approx(one, rel=1e-3)
    assert [two[i, "train"] for i in range(1, 21)] == pytest.approx([one[i, "train"] for i in range(1, 21)], rel=1e-5)


def ranks_of(process: subprocess.Popen) -> list[int]:
    """The processes that it started, the first one first."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    return sorted(map(int, found))


def wait_for_steps(out, steps: int) -> None:
    until = time.monotonic() + 200
    while time.monotonic() < until:
        if (out / "metrics.jsonl").exists() and any(step >= steps for step, _ in losses(out)):
            return
        time.sleep(0.2)
    raise AssertionError("it did not get that far")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pgrep"), reason="pgrep is not installed")
def test_killing_one_of_them_ends_all_says_why_and_the_run_goes_on_exactly(tmp_path):
    long = ("--steps", "1500", "--set=validations=20")
    whole = started(tmp_path / "whole", 2, *long)
    said = whole.communicate(timeout=400)[1]
    assert whole.returncode == 0, said
    killed = started(tmp_path / "killed", 2, *long)
    wait_for_steps(tmp_path / "killed", 100)
    first, second = ranks_of(killed)
    os.kill(first, signal.SIGTERM)  # a stop that one of them is asked for stops both after the same step
    said = killed.communicate(timeout=60)[1]
    assert "saved. To go on" in said
    resume = [sys.executable, "-m", "betabloom", "train", "--resume", str(tmp_path / "killed"), "--devices", "2"]
    again = subprocess.Popen(resume, stderr=subprocess.PIPE, text=True)
    wait_for_steps(tmp_path / "killed", max(step for step, _ in losses(tmp_path / "killed")) + 50)
    first, second = ranks_of(again)
    os.kill(second, signal.SIGKILL)
    begun = time.monotonic()
    said = again.communicate(timeout=60)[1]
    assert time.monotonic() - begun < 15
    assert again.returncode == 1
    assert "Process 1 of 2 is gone: it was ended by SIGKILL" in said
    assert f"betabloom train --resume {tmp_path / 'killed'}" in said
    shutil.copytree(tmp_path / "killed", tmp_path / "alone")
    subprocess.run(resume, check=True, stderr=subprocess.DEVNULL)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    alone = [sys.executable, "-m", "betabloom", "train", "--resume", str(tmp_path / "alone")]
    assert "by 2 processes and goes on with 1" in subprocess.run(alone, capture_output=True, text=True).stderr
    assert losses(tmp_path / "alone") == pytest.approx(losses(tmp_path / "whole"), rel=2e-2)


@pytest.fixture
def two_hosts():
    """Two network namespaces, joined by a cable."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root on Linux and the program ip (package iproute2)")
    names = [f"bloom{os.getpid()}{end}" for end in "ab"]
    made = [["ip", "netns", "add", name] for name in names]
    made += [["ip", "link", "add", "cable", "netns", names[0], "type", "veth", "peer", "cable", "netns", names[1]]]
    for number, name in enumerate(names, 1):
        made += [["ip", "-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "cable"]]
        made += [["ip", "-n", name, "link", "set", device, "up"] for device in ("lo", "cable")]
    try:
        for words in made:
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{' '.join(words)}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.slow
def test_two_hosts_train_as_one(two_hosts, tmp_path):
    runs = []
    for number, name in enumerate(two_hosts):
        words = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
        words += ["--nproc-per-node=1", f"--node-rank={number}", "--master-addr=10.77.0.1", "--master-port=29500"]
        words += ["-m", "betabloom", *TRAINING, "--steps", "200", "-o", str(tmp_path / "two")]
        own = {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1"}
        runs.append(subprocess.Popen(words, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True))
    for run in runs:
        _, said = run.communicate(timeout=400)
        assert run.returncode == 0, said[-2000:]
    subprocess.run(
        [sys.executable, "-m", "betabloom", *TRAINING, "--steps", "200", "-o", str(tmp_path / "one")], check=True
    )
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)


def test_a_group_that_lost_a_member_says_so(monkeypatch):
    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_reduce", gone)
    with pytest.raises(BetabloomError, match="Another process of this training ended"):
        Group(0, 2, 0).summed([1.0])
