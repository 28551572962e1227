"""A run cannot be lost: what is on the disk is whole, and what goes on from it is what would have been."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.system import atomic
from betabloom.system.locks import locked
from betabloom.system.signals import Interrupted, stop_requests
from betabloom.training import checkpoints, finish, loop, resume, run_folder, setup, validate


def results(folder: Path) -> dict[str, object]:
    """All that a run made, without what names the time or the folder."""
    found: dict[str, object] = {
        str(path.relative_to(folder)): np.asarray(Image.open(path)).tobytes() for path in sorted(folder.rglob("*.png"))
    }
    for name in ("model/model.safetensors", "model/sampler-parzen.safetensors"):
        found[name] = (folder / name).read_bytes()
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    found["metrics"] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return found


@pytest.fixture(scope="module")
def whole(small_store, tiny_config, tmp_path_factory):
    """What the uninterrupted run makes."""
    folder = tmp_path_factory.mktemp("whole")
    loop.train(small_store, tiny_config, folder)
    return results(folder)


@pytest.fixture(autouse=True)
def heard():
    """Let signals reach this process, also where the tests run in the background of a shell, which ignores some."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stop_at(monkeypatch, at, number=signal.SIGTERM):
    """Have a signal arrive in the step that ends as step `at`."""
    step = loop.train_step

    def step_and_signal(run):
        step(run)
        if run.state.step + 1 == at:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop, "train_step", step_and_signal)


@pytest.mark.parametrize(
    ("at", "name"), [(1, "SIGINT"), (9, "SIGTERM"), (13, "SIGHUP"), (19, "SIGTERM"), (20, "SIGTERM")]
)
def test_stopped_at_any_step_by_any_signal_it_ends_as_if_it_had_not(
    at, name, whole, small_store, tiny_config, tmp_path, monkeypatch
):
    """An epoch has 3.4 steps; with the last one what is left is the model."""
    with monkeypatch.context() as patch:
        stop_at(patch, at, getattr(signal, name))
        with pytest.raises(Interrupted, match=r"Stopped.*--resume"):
            loop.train(small_store, tiny_config, tmp_path)
    assert not (tmp_path / "model").exists()
    torch.manual_seed(at)  # no random numbers come from here
    loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert results(tmp_path) == whole


def test_a_run_that_goes_on_tells_the_time_left_by_its_own_pace(small_store, tiny_config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 9)
        with pytest.raises(Interrupted):
            loop.train(small_store, tiny_config, tmp_path)
    run = setup.set_up(setup.make_task(small_store, tiny_config, tmp_path))
    resume.restore(run)
    assert run.state.step == 9
    assert run.state.plan.t == 9 / 20
    assert run.state.plan.first == (0, 0.0)


@pytest.mark.parametrize("name", ["fit_sampler", "save_model"])
def test_stopped_while_the_model_is_made_only_that_is_done_again(
    name, whole, small_store, tiny_config, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(finish, name, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match="after the last step, which is saved"):
            loop.train(small_store, tiny_config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", lambda _: pytest.fail("trained again"))
        loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert results(tmp_path) == whole


def test_a_finished_run_says_so_and_stays_as_it_is(whole, small_store, tiny_config, tmp_path, caplog, monkeypatch):
    loop.train(small_store, tiny_config, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "model").iterdir()}
    with caplog.at_level(logging.INFO, logger="betabloom"):
        loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert "is finished: all its steps were taken, up to step 20" in caplog.text
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "model").iterdir()}
    (tmp_path / "model" / "samples.png").unlink()
    loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert results(tmp_path) == whole


def test_the_second_ctrl_c_leaves_at_once():
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_hang_up_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_left_alone_in_other_threads():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(stop_requests().__enter__().asked))
    thread.start()
    thread.join()
    assert seen == [False]


def damaged(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return {"cut": content[:middle], "empty": b"", "flipped": flipped, "longer": content + b"\0"}[how]


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "longer", "missing"])
def test_a_damaged_newest_checkpoint_is_noticed_wherever_and_the_one_before_is_used(file, how, tmp_path):
    tensors = {"a": torch.arange(30.0)}
    for step in (1, 2):
        checkpoints.save_checkpoint(tmp_path, step, tensors, {"note": step, "text": "x" * 300})
    path = tmp_path / "step-000000002" / file
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged(path.read_bytes(), how))
    found, state, complaints = checkpoints.latest_checkpoint(tmp_path, tensors)
    assert (state["note"], len(complaints)) == (1, 1)
    assert torch.equal(found["a"], tensors["a"])
    checkpoints.save_checkpoint(tmp_path, 2, tensors, {"note": 3})
    assert checkpoints.latest_checkpoint(tmp_path, tensors)[1:] == (checkpoints._read_state(path.parent), [])


def test_damaged_checkpoints_do_not_push_out_good_ones(tmp_path):
    """The newest is damaged, and what goes on from the one before has not come as far: both good ones are kept."""
    tensors = {"a": torch.arange(3.0)}
    for step in (10, 20):
        checkpoints.save_checkpoint(tmp_path, step, tensors, {})
    (tmp_path / "step-000000020" / "state.json").write_text("x")
    checkpoints.save_checkpoint(tmp_path, 15, tensors, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000010", "step-000000015"]


def test_every_flipped_bit_of_the_state_is_noticed(tmp_path):
    tensors = {"a": torch.arange(3.0)}
    checkpoints.save_checkpoint(tmp_path, 7, tensors, {"seconds": 1.25, "records": 3})
    path = tmp_path / "step-000000007" / "state.json"
    content, state = path.read_bytes(), checkpoints._read_state(path.parent)
    for place in range(len(content)):
        for bit in (0, 3, 6):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with contextlib.suppress(FormatError):
                assert checkpoints._read_state(path.parent) == state  # white space became other white space


def test_what_cannot_be_read_back_is_not_kept(tmp_path, monkeypatch):
    tensors = {"a": torch.arange(3.0)}
    checkpoints.save_checkpoint(tmp_path, 1, tensors, {})
    monkeypatch.setattr(checkpoints, "sha256", lambda *_, **__: "other")
    with pytest.raises(OSError, match="read back"):
        checkpoints.save_checkpoint(tmp_path, 2, tensors, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    assert checkpoints.latest_checkpoint(tmp_path, tensors)


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_before_the_oldest_goes(tmp_path, monkeypatch):
    """tmp → fsync of files and folder → rename → fsync of the parent → read back → the oldest goes."""
    tensors = {"a": torch.arange(3.0)}
    for step in (1, 2):
        checkpoints.save_checkpoint(tmp_path, step, tensors, {})
    done = []
    rename, removed, sync, read_back = Path.rename, shutil.rmtree, atomic.sync, checkpoints.sha256
    monkeypatch.setattr(atomic, "sync", lambda path: (done.append(f"sync {path.name}"), sync(path)))
    monkeypatch.setattr(Path, "rename", lambda self, to: (done.append(f"rename {to.name}"), rename(self, to)))
    monkeypatch.setattr(checkpoints, "sha256", lambda path, **o: (done.append("read back"), read_back(path, **o))[1])
    monkeypatch.setattr(shutil, "rmtree", lambda path, **o: (done.append(f"remove {path.name}"), removed(path, **o)))
    checkpoints.save_checkpoint(tmp_path, 3, tensors, {})
    assert set(done[:2]) == {"sync state.safetensors", "sync state.json"}
    part = done[2].removeprefix("sync ")
    assert atomic.is_leftover(Path(part))
    assert done[2:] == [
        f"sync {part}", "rename step-000000003", f"sync {tmp_path.name}", f"remove {part}", "read back",
        "remove step-000000001",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "number", "reason"),
    [
        ("write_tensors", errno.ENOSPC, "the disk of .* is full"),
        ("write_json", errno.ENOSPC, "the disk of .* is full"),
        ("write_json", errno.EROFS, "has become read-only"),
        ("write_json", errno.EACCES, "may not be written"),
        ("write_json", errno.EIO, "Input/output error"),
    ],
)
def test_a_disk_that_takes_no_more_stops_the_run_with_the_reason_and_the_last_checkpoint_stays(
    where, number, reason, whole, small_store, tiny_config, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise OSError(number, os.strerror(number), "/some/.part")

    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    with monkeypatch.context() as patch:
        step = loop.train_step
        patch.setattr(
            loop, "train_step", lambda s: (step(s), s.state.step + 1 == 12 and patch.setattr(checkpoints, where, full))
        )
        with pytest.raises(BetabloomError, match=f"step 12: .*{reason}.*It is saved as it was at step 11.*--resume"):
            loop.train(small_store, tiny_config, tmp_path)
    loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert results(tmp_path) == whole


def test_a_folder_that_is_gone_stops_the_run_and_is_not_made_again(small_store, tiny_config, tmp_path, monkeypatch):
    step, out = loop.train_step, tmp_path / "run"
    monkeypatch.setattr(
        loop, "train_step", lambda s: (step(s), s.state.step + 1 == 12 and out.rename(tmp_path / "moved"))
    )
    with pytest.raises(BetabloomError, match=r"step \d+: its folder .*run is gone"):
        loop.train(small_store, tiny_config, out)
    assert not out.exists()


@contextlib.contextmanager
def read_only(folder: Path):
    """Have the system itself refuse to write there."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("making a folder read-only needs root on Linux")
    for how in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
        done = subprocess.run(["mount", *how], capture_output=True, text=True)
        if done.returncode:
            subprocess.run(["umount", folder], capture_output=True, check=False)
            pytest.skip(f"no folder can be made read-only: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_folder_that_becomes_read_only_stops_the_run_and_the_last_checkpoint_stays(
    whole, small_store, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    with contextlib.ExitStack() as stack:
        patch, step, checkpoints = (
            stack.enter_context(monkeypatch.context()),
            loop.train_step,
            tmp_path / "checkpoints",
        )
        patch.setattr(
            loop,
            "train_step",
            lambda s: (step(s), s.state.step + 1 == 12 and stack.enter_context(read_only(checkpoints))),
        )
        with pytest.raises(
            BetabloomError, match=r"step 12: .* has become read-only.*It is saved as it was at step 11.*--resume"
        ):
            loop.train(small_store, tiny_config, tmp_path)
    loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert results(tmp_path) == whole


def test_a_folder_that_is_read_only_takes_no_run_and_says_so(small_store, tiny_config, tmp_path):
    for out in (tmp_path, tmp_path / "run"):
        with read_only(tmp_path), pytest.raises(BetabloomError, match=rf"No run can be put in {out}: .*read-only"):
            loop.train(small_store, tiny_config, out)
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(small_store, tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BetabloomError, match=r"No run can be put in .*file/run: .*another folder with -o"):
        loop.train(small_store, tiny_config, tmp_path / "file" / "run")


def test_two_runs_never_write_the_same_folder(small_store, tiny_config, tmp_path):
    with locked(tmp_path / ".lock"), pytest.raises(UsageError, match="Another process is training in"):
        loop.train(small_store, tiny_config, tmp_path)
    loop.train(small_store, tiny_config, tmp_path)
    before = results(tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        loop.train(small_store, tiny_config, tmp_path)
    with locked(tmp_path / ".lock"), pytest.raises(UsageError, match="Another process is training in"):
        loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert results(tmp_path) == before
    assert not (tmp_path / ".lock").exists()


def test_what_killed_processes_left_is_removed_and_what_is_not_theirs_stays(small_store, tiny_config, tmp_path):
    for name in (".7.part", ".config.yaml.7.part", ".lock"):
        (tmp_path / name).touch()
    (tmp_path / ".model.7.part").mkdir()
    assert run_folder.is_free(tmp_path)
    loop.train(small_store, tiny_config, tmp_path)
    (tmp_path / "checkpoints" / ".step-000000007.7.part").mkdir()
    (tmp_path / "samples" / ".7.part").touch()
    (tmp_path / ".mine").touch()
    loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert [path.name for path in tmp_path.rglob(".*")] == [".mine"]
    assert not run_folder.is_free(tmp_path)


def test_settings_that_were_changed_meanwhile_are_named(small_store, tiny_config, tmp_path, monkeypatch):
    """Also where they make another network, which the checkpoint's weights do not fit."""
    stop_at(monkeypatch, 9)
    with pytest.raises(Interrupted):
        loop.train(small_store, tiny_config, tmp_path)
    for name, before, after in (("beta", "1.0", 2.0), ("latents", "6", 7)):
        told = rf"The setting {name} was {before} when .* stopped, and is {after} in its config\.yaml"
        with pytest.raises(UsageError, match=told):
            loop.train(small_store, tiny_config.replace({name: after}), tmp_path, resume=True)


def test_sheets_of_steps_that_did_not_come_to_be_go(small_store, tiny_config, tmp_path, monkeypatch):
    stop_at(monkeypatch, 9)
    with pytest.raises(Interrupted):
        loop.train(small_store, tiny_config, tmp_path)
    (tmp_path / "samples").mkdir(exist_ok=True)
    for name in ("step-000000011.png", "step-000000010.txt", "mine.png"):
        (tmp_path / "samples" / name).write_text("")
    loop.train(small_store, tiny_config, tmp_path, resume=True)
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert {"step-000000010.txt", "mine.png"} <= names
    assert "step-000000011.png" not in names


def test_a_command_that_is_shown_can_be_typed_whatever_the_folder_is_called():
    for name in ("run", "a b", "-dash", "it's", "line\nbreak", "--resume"):
        words = shlex.split(checkpoints.resume_command(Path(name)))
        assert words[:3] == ["betabloom", "train", "--resume"]
        assert Path(words[3]) == Path(name)
        assert not words[3].startswith("-")


def test_nothing_to_train_is_said(tiny_config):
    with pytest.raises(UsageError, match=r"nothing to train.*--epochs 60"):
        setup.check_settings(tiny_config.replace({"steps": 0, "epochs": 0}))


HUNG_UP = """
import os, sys
from betabloom import data
from betabloom.training import loop as train
from betabloom.system.console import show_log
sys.path.insert(0, sys.argv[1])
from conftest import TINY
from betabloom.config import Config
show_log()
step = train.train_step
def wait(run):
    step(run)
    if run.state.step == 5:
        os.write(int(sys.argv[3]), b"x")
        os.read(int(sys.argv[4]), 1)
train.train_step = wait
import numpy as np
pictures = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
train.train(data.Store.from_array(pictures), Config.preset("tiny", **TINY), __import__("pathlib").Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal that goes away, as Linux does it")
def test_a_terminal_that_goes_away_stops_the_run_cleanly(tmp_path):
    import pty

    (told, tell), (asked, ask) = os.pipe(), os.pipe()
    master, slave = pty.openpty()
    command = [sys.executable, "-c", HUNG_UP, str(Path(__file__).parent), str(tmp_path / "run"), str(tell), str(asked)]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, pass_fds=(tell, asked), start_new_session=True
    )
    os.close(slave)
    os.read(told, 1)
    os.close(master)
    process.send_signal(signal.SIGHUP)  # what the kernel sends to the session of a terminal
    os.write(ask, b"x")
    process.wait(timeout=60)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000006"]
    for end in (told, tell, asked, ask):
        os.close(end)


def test_validation_is_the_same_whenever(small_store, tiny_config):
    """No state but the weights goes into a validation."""
    run = setup.set_up(setup.make_task(small_store, tiny_config, None))
    loop.train_step(run)
    run.state.step += 1
    for _ in range(2):
        torch.rand(5)
        np.random.default_rng().random()
        validate.validate(run)
    assert run.state.records[0] == run.state.records[1]
