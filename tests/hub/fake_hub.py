"""A small Hub on 127.0.0.1: takes repositories, branches and commits as the real one does, and keeps them."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = 1_000  # bytes from which a file goes the way of large ones
TOKEN = "hf_a_token_that_nobody_may_see"


@dataclass
class Hub:
    """What the Hub holds: repositories with their branches' files, large files by sha256, and requests as they came."""

    url: str = ""
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cards: list[str] = field(default_factory=list)
    card_error: str = ""
    broken: str = ""  # a part of a path that is answered by an error of the server


@contextmanager
def fake_hub() -> Iterator[Hub]:
    """Serve a new, empty Hub while the body runs."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._receive()
        repository, _, branch = self.path.partition("?")[0].removeprefix("/api/models/").partition("/revision/")
        if (repository, branch or "main") in self.state.files:
            self._tell(repository, branch or "main")
            return
        self._answer(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        body = self._receive()
        path = self.path.partition("?")[0]
        if self.state.broken and self.state.broken in path:
            self._answer(500, {"error": "the server fell over"})
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body))
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif "/preupload/" in path:
            self._sort(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._offer(json.loads(body))
        elif "/branch/" in path:
            repository, branch = path.removeprefix("/api/models/").split("/branch/")
            self.state.files.setdefault((repository, branch), {})
            self._answer(201, {})
        elif "/commit/" in path:
            self._commit(path, body.decode())
        else:
            self._answer(404, {"error": f"no such door: {path}"})

    def do_PUT(self) -> None:
        body = self._receive()
        digest = self.path.rpartition("/")[2]
        right = hashlib.sha256(body).hexdigest() == digest
        if right:
            self.state.large[digest] = body
        self._answer(200 if right else 400, {})

    def _receive(self) -> bytes:
        self.state.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        content = self.rfile.read(size)
        self.rfile.readline()
        return content

    def _answer(self, status: int, table: Any, **headers: str) -> None:
        body = json.dumps(table).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _tell(self, repository: str, branch: str) -> None:
        private = self.state.repositories[repository].get("visibility") == "private"
        siblings = [{"rfilename": name} for name in self.state.files[repository, branch]]
        self._answer(200, {"id": repository, "private": private, "siblings": siblings, "sha": "c" * 40})

    def _validate(self, asked: dict[str, Any]) -> None:
        self.state.cards.append(asked["content"])
        wrong = [{"message": self.state.card_error}] if self.state.card_error else []
        self._answer(400 if wrong else 200, {"errors": wrong, "warnings": []})

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
        self.state.repositories.setdefault(name, asked)
        self.state.files.setdefault((name, "main"), {})
        self._answer(200, {"url": f"{self.state.url}/{name}", "name": name, "id": "1"})

    def _sort(self, asked: dict[str, Any]) -> None:
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["size"] >= LARGE else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for one in asked["files"]
        ]
        self._answer(200, {"files": modes})

    def _offer(self, asked: dict[str, Any]) -> None:
        offers = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {"upload": {"href": f"{self.state.url}/store/{one['oid']}", "header": {}}},
            }
            for one in asked["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": offers})

    def _commit(self, path: str, body: str) -> None:
        repository, branch = path.removeprefix("/api/models/").split("/commit/")
        files = self.state.files[repository, branch]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = "c" * 40
        url = f"{self.state.url}/{repository}/commit/{oid}"
        self._answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})
