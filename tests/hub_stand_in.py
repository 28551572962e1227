"""A stand-in for the Hugging Face Hub: the parts of its HTTP API that pushing and pulling use, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret_of_the_test"


class Hub:
    """Repositories: name → commits, each a hash and the files at it."""

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.stored: dict[str, bytes] = {}  # large files by their SHA-256
        self.requests: list[tuple[str, str, str]] = []  # method, path, Authorization

    def files(self, name: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        commits = self.commits.get(name, [])
        if revision == "main":
            return commits[-1] if commits else None
        return next((each for each in commits if each[0] == revision), None)

    def put(self, name: str, files: dict[str, bytes]) -> str:
        commits = self.commits.setdefault(name, [])
        everything = {**(commits[-1][1] if commits else {}), **files}
        commit = hashlib.sha1(repr((len(commits), sorted(everything))).encode()).hexdigest()
        commits.append((commit, everything))
        return commit


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def answer(self, value: object = None, code: int = 200, headers: dict[str, str] | None = None) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(code)
            for key, text in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def missing(self, code: str) -> None:
            self.answer({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": code})

        def body(self) -> bytes:
            length = self.headers.get("Content-Length")
            if length is not None:
                return self.rfile.read(int(length))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def noted(self) -> str:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Authorization", "")))
            return path

        def do_GET(self) -> None:
            path = self.noted()
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(tree|revision)/([^/]+))?(/.*)?", path):
                name, what, revision, _ = found.groups()
                at = hub.files(name, revision or "main")
                if name not in hub.commits:
                    self.missing("RepoNotFound")
                elif at is None:
                    self.missing("RevisionNotFound")
                elif what == "tree":
                    self.answer([{"type": "file", "path": k, "size": len(v), "oid": git(v)} for k, v in at[1].items()])
                else:
                    self.answer({"id": name, "sha": at[0], "siblings": [{"rfilename": each} for each in at[1]]})
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                name, revision, file = found.groups()
                at = hub.files(name, revision)
                if at is None or file not in at[1]:
                    self.missing("EntryNotFound" if name in hub.commits else "RepoNotFound")
                else:
                    etag = hashlib.sha256(at[1][file]).hexdigest()
                    self.answer(at[1][file], 200, {"ETag": f'"{etag}"', "X-Repo-Commit": at[0]})
            else:
                self.missing("EntryNotFound")

        do_HEAD = do_GET  # noqa: N815

        def do_PUT(self) -> None:
            path = self.noted()
            content = self.body()
            hub.stored[hashlib.sha256(content).hexdigest()] = content
            self.answer({}, 200 if path.startswith("/store/") else 404)

        def do_POST(self) -> None:
            path, content = self.noted(), self.body()
            if path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.answer({"error": "Invalid username or password."}, 401)
            elif path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked['organization']}/{asked['name']}"
                known = name in hub.commits
                if not known:
                    hub.put(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
                self.answer({"url": f"http://{self.headers['Host']}/{name}"}, 409 if known else 200)
            elif "/preupload/" in path:
                names = [each["path"] for each in json.loads(content)["files"]]
                kinds = {name: "lfs" if name.endswith((".safetensors", ".onnx")) else "regular" for name in names}
                self.answer({"files": [{"path": k, "uploadMode": v, "shouldIgnore": False} for k, v in kinds.items()]})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(content)["objects"]
                base = f"http://{self.headers['Host']}/store"
                actions = [{"upload": {"href": f"{base}/{each['oid']}", "header": {}}} for each in objects]
                both = zip(objects, actions, strict=True)
                self.answer({"transfer": "basic", "objects": [{**each, "actions": action} for each, action in both]})
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
                self.committed(found[1], content)
            else:
                self.missing("EntryNotFound")

        def committed(self, name: str, content: bytes) -> None:
            files = {}
            for line in content.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "lfsFile":
                    files[entry["value"]["path"]] = hub.stored[entry["value"]["oid"]]
            commit = hub.put(name, files)
            url = f"http://{self.headers['Host']}/{name}/commit/{commit}"
            self.answer({"success": True, "commitOid": commit, "commitUrl": url})

    return Handler


def git(content: bytes) -> str:
    """The hash that git has of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving(hub: Hub):
    """Serve a stand-in; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
