"""What the studio cannot serve is refused in a sentence before the page is announced."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="the extra 'studio' is not installed")

from betabloom.errors import BetabloomError, UsageError
from betabloom.studio import serve as module
from betabloom.studio.serve import serve


class Nameless(socket.socket):
    """Names that it does not know are answered for at once, without asking the network."""

    def bind(self, address):
        if address[0] == "no.such.host.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        super().bind(address)


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    """What is accepted by mistake fails, where it would be served for ever."""
    monkeypatch.setattr(socket, "socket", Nameless)
    monkeypatch.setattr(module, "server_of", lambda app: pytest.fail("the studio was started"))


@pytest.mark.parametrize(
    ("host", "folder", "said"),
    [
        ("", "studio", "--host needs a name or address"),
        ("no.such.host.invalid", "studio", "There is no host no.such.host.invalid"),
        ("an..empty.part", "studio", "There is no host an..empty.part"),
        ("127.0.0.1", "note.txt", "note.txt is a file"),
        ("127.0.0.1", "note.txt/deeper/studio", "note.txt is a file"),
    ],
)
def test_a_wrong_host_or_folder_is_refused(tmp_path, host, folder, said):
    (tmp_path / "note.txt").write_text("mine")
    announced = []
    with pytest.raises(UsageError, match=said):
        serve(None, host, 0, tmp_path / folder, "secret", browser=False, told=announced.append)
    assert not announced
    assert (tmp_path / "note.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_a_browser_that_takes_over_the_terminal_does_not_keep_the_studio_from_its_work(
    tmp_path, model_folder, monkeypatch
):
    closed, served, waited = threading.Event(), [], []
    monkeypatch.setattr(module.webbrowser, "open", lambda address: waited.append(closed.wait(30)))
    monkeypatch.setattr(
        module, "server_of", lambda app: SimpleNamespace(run=lambda sockets: served.append(sockets[0].close()))
    )
    serve(model_folder, "127.0.0.1", 0, tmp_path, told=lambda address: None)
    assert served
    assert not waited
    closed.set()


def test_a_missing_extra_is_told_from_another_module_that_is_missing(tmp_path, monkeypatch):
    def imports(missing):
        def refuse(name, *rest):
            if name == "betabloom.studio.app":
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
            return real(name, *rest)

        return refuse

    real = __import__
    monkeypatch.setattr("builtins.__import__", imports("uvicorn.config"))
    with pytest.raises(BetabloomError, match=r"betabloom\[studio\]"):
        serve(None, "127.0.0.1", 0, tmp_path, browser=False)
    monkeypatch.setattr("builtins.__import__", imports("betabloom.gone"))
    with pytest.raises(ModuleNotFoundError, match=r"betabloom\.gone"):
        serve(None, "127.0.0.1", 0, tmp_path, browser=False)
