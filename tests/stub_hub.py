"""A hub on loopback with the HTTP interface of the real one, for the real client.

It serves folders as repositories: model info with checksums, and files with HEAD, GET, Range, ETag and the headers of
large files. Faults are set by path: answers that are cut, wrong, refused or held. With TOKEN, repositories are created
in `uploads` and take commits of small files and of large ones, whose contents are sent before.
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

INFO = re.compile(r"/api/(?:model|dataset)s/([^/]+/[^/]+?)(?:/revision/([^/]+))?")
UPLOAD = re.compile(r"/api/(?:model|dataset)s/([^/]+/[^/]+)/(preupload|commit)/main")
OBJECTS = re.compile(r"/(?:datasets/)?[^/]+/[^/]+\.git/info/lfs/objects/batch")
FILE = re.compile(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
TOKEN = "hf_" + "t" * 34
LARGE_B = 4096  # larger files are "LFS": their ETag is a SHA-256
CHUNK_B = 4096


@dataclass
class StubHub:
    """Repositories by name, and faults by path within any repository."""

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    """Repositories whose files need TOKEN."""
    licences: dict[str, str] = field(default_factory=dict)
    """Licences in the repositories' cards."""
    cut: dict[str, int] = field(default_factory=dict)
    """The next answer ends after so many bytes of the body, once."""
    wrong: Counter[str] = field(default_factory=Counter)
    """The next answers, this many, have another content of the same size."""
    busy: Counter[str] = field(default_factory=Counter)
    """The next answers, this many, are 429; the key "info" is for model info."""
    hold: dict[str, int] = field(default_factory=dict)
    """After so many bytes the answer waits until `released` is set."""
    released: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    """Set when an answer waits."""
    ranges: list[tuple[str, int]] = field(default_factory=list)
    """Each GET of a file: its path and first byte."""
    tokens: list[str] = field(default_factory=list)
    """Authorization headers that arrived."""
    address: str = ""
    uploads: Path = Path()
    private: set[str] = field(default_factory=set)
    """Repositories that were created as private ones."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Contents of large files by SHA-256."""

    def add(self, name: str, folder: Path) -> None:
        self.repositories[name] = folder

    def commit(self, name: str) -> str:
        return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()

    def environment(self, home: Path) -> dict[str, str]:
        """For processes that shall use this hub, with their own cache in `home`."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(home),
            "NO_PROXY": "127.0.0.1",
        }


def digest(path: Path) -> str:
    content = path.read_bytes()
    if len(content) > LARGE_B:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def running_hub() -> Iterator[StubHub]:
    hub = StubHub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def use_hub(hub: StubHub, monkeypatch: Any) -> None:
    """Let the hub's client of this process ask `hub`, without the user's own token."""
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)


class _Handler(BaseHTTPRequestHandler):
    state: StubHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        content = self.body()
        if self.is_busy(self.path) or hashlib.sha256(content).hexdigest() != Path(self.path).name:
            return self.close()
        self.state.objects[Path(self.path).name] = content
        return self.send_object({})

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.body()
        if not self.has_token:
            return self.send_object({"error": "Invalid user token."}, 401)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.send_object({"errors": [], "warnings": []})
        if OBJECTS.fullmatch(path):
            return self.send_object({"objects": [self.wanted(one) for one in json.loads(body)["objects"]]})
        if match := UPLOAD.fullmatch(path):
            return self.preupload(json.loads(body)) if match[2] == "preupload" else self.commit(match[1], body)
        return self.refuse(404, "RepoNotFound")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def close(self) -> None:
        self.close_connection = True

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        folder = self.state.uploads / wanted["type"] / name
        if wanted.get("visibility") == "private" and not folder.exists():
            self.state.private.add(name)
        folder.mkdir(parents=True, exist_ok=True)
        self.state.repositories[name] = folder
        prefix = "datasets/" if wanted["type"] == "dataset" else ""
        return self.send_object({"url": f"{self.state.address}/{prefix}{name}", "name": name})

    def preupload(self, wanted: dict[str, Any]) -> None:
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": one["path"], "uploadMode": modes[one["size"] > LARGE_B], "shouldIgnore": False}
            for one in wanted["files"]
        ]
        return self.send_object({"files": files})

    def wanted(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.state.objects:
            return one
        return {**one, "actions": {"upload": {"href": f"{self.state.address}/objects/{one['oid']}"}}}

    def commit(self, name: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                continue
            value = line["value"]
            small = line["key"] == "file"
            content = base64.b64decode(value["content"]) if small else self.state.objects[value["oid"]]
            target = self.state.repositories[name] / value["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        page = f"{self.state.address}/{name}/commit/{self.state.commit(name)}"
        return self.send_object({"commitUrl": page, "commitOid": self.state.commit(name), "success": True})

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.tokens.append(self.headers.get("Authorization", ""))
        if path == "/api/whoami-v2":
            return self.whoami()
        if match := INFO.fullmatch(path):
            return self.info(match[1], match[2] or "main")
        if match := FILE.fullmatch(path):
            return self.file(match[1], match[2], match[3])
        return self.refuse(404, "RepoNotFound")

    def whoami(self) -> None:
        if not self.has_token:
            return self.refuse(401, "")
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}}
        return self.send_object({"type": "user", "name": "test", "fullname": "Test", "orgs": [], "auth": access})

    @property
    def has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def info(self, name: str, revision: str) -> None:
        if self.is_busy("info"):
            return
        folder = self.state.repositories.get(name)
        if folder is None:
            return self.refuse(401, "RepoNotFound")
        if revision not in ("main", self.state.commit(name)):
            return self.refuse(404, "RevisionNotFound")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return self.send_object(
            {
                "id": name,
                "modelId": name,
                "sha": self.state.commit(name),
                "gated": "manual" if name in self.state.gated else False,
                "private": name in self.state.private,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "cardData": {"license": self.state.licences[name]} if name in self.state.licences else None,
                "siblings": [self.sibling(folder, path) for path in files],
            }
        )

    def sibling(self, folder: Path, path: Path) -> dict[str, Any]:
        size, checksum = path.stat().st_size, digest(path)
        entry: dict[str, Any] = {"rfilename": path.relative_to(folder).as_posix(), "size": size, "blobId": "0" * 40}
        if size > LARGE_B:
            return {**entry, "lfs": {"sha256": checksum, "size": size, "pointerSize": 134}}
        return {**entry, "blobId": checksum}

    def file(self, name: str, revision: str, path: str) -> None:
        folder = self.state.repositories.get(name)
        if folder is None or not (folder / path).is_file():
            return self.refuse(404, "RepoNotFound" if folder is None else "EntryNotFound")
        if name in self.state.gated and not self.has_token:
            return self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        if self.command == "GET" and self.is_busy(path):
            return None
        return self.send_file(name, folder / path, path)

    def send_file(self, name: str, file: Path, path: str) -> None:
        content = file.read_bytes()
        checksum = digest(file)
        if self.command == "GET" and self.state.wrong[path] > 0:
            self.state.wrong[path] -= 1
            content = bytes(len(content))
        start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", self.state.commit(name))
        self.send_header("ETag", f'"{checksum}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.state.ranges.append((path, start))
            self.send_body(content[start:], path)

    def send_body(self, body: bytes, path: str) -> None:
        cut, hold = self.state.cut.pop(path, None), self.state.hold.get(path)
        for at in range(0, len(body), CHUNK_B):
            if cut is not None and at >= cut:
                self.close_connection = True
                return
            if hold is not None and at >= hold and not self.state.released.is_set():
                self.state.held.set()
                self.state.released.wait(60)
            try:
                self.wfile.write(body[at : at + CHUNK_B])
            except OSError:  # the client is gone
                self.close_connection = True
                return

    def is_busy(self, path: str) -> bool:
        if self.state.busy[path] <= 0:
            return False
        self.state.busy[path] -= 1
        self.refuse(429, "", {"Retry-After": "0"})
        return True

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_object(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
