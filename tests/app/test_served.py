"""The page as a process behind a socket: limits, logins at once, proxies, sessions, files' modes.

The server trusts 127.0.0.2 as its proxy; the tests choose the address that they come from.
"""

import http.client
import json
import os
import re
import resource
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.__main__ import OPEN_REQUESTS_S
from app.auth.login import COOKIE
from app.auth.users import Users, add_user
from app.middleware.body_limits import LIMIT, LIMITS, UPLOAD

PASSWORD = "correct horse"
DIRECT, PROXY = "127.0.0.1", "127.0.0.2"
PUBLIC = "https://dailies.example.org"
FILE_LIMIT = 24 * 2**20  # bytes that the server may write to one file: its disk is "full" beyond
START_S = 120.0
WIRE_S = 10.0  # the patience of a client of `Served.raw`


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float


@dataclass
class Served:
    """A server's process on a port that stays the same."""

    command: list[str]
    port: int
    folder: Path
    users: Users
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        limit = (FILE_LIMIT, FILE_LIMIT)
        with (self.folder / "page.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
            )
        end = time.monotonic() + START_S
        while not self._listens():
            assert time.monotonic() < end and self.process.poll() is None, (self.folder / "page.log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def cpu_s(self) -> float:
        """CPU seconds of the page so far."""
        assert self.process is not None
        used = psutil.Process(self.process.pid).cpu_times()
        return used.user + used.system

    def ask(self, method: str, path: str, body: Any = None, source: str = DIRECT, **headers: str) -> Reply:
        """`headers` with `_` for `-`."""
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(source, 0))
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read(), time.monotonic() - start)
        finally:
            connection.close()

    def cookie(self, name: str = "eva") -> str:
        return f"{COOKIE}={self.users.token(name)}"

    def head(self, path: str, *headers: str) -> bytes:
        return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers, "", ""]).encode()

    def raw(self, *parts: bytes) -> bytes:
        """Return the server's answer to raw bytes, until it closes the connection or stops sending."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WIRE_S) as wire:
            for part in parts:
                try:
                    wire.sendall(part)
                except OSError:  # it has answered and hung up already
                    break
            said = b""
            try:
                while b"\r\n\r\n" not in said and (came := wire.recv(65536)):
                    said += came
            except OSError:
                pass
            return said

    def _listens(self) -> bool:
        try:
            return self.ask("GET", "/login").status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, python: str, root: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    for name, role in (("anna", "labeller"), ("eva", "researcher")):
        add_user(folder / "users.json", name, role, PASSWORD)  # type: ignore[arg-type]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "app", "--port", str(port), "--workspace", str(folder / "workspace")]
    command += ["--auth", str(folder / "users.json"), "--public-url", PUBLIC, "--proxy", PROXY]
    own = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    one = Served(command, port, folder, Users(folder / "users.json"), {**os.environ, **own})
    one.environment.pop("GRADIO_TEMP_DIR", None)
    fill = "from trackio.sqlite_storage import SQLiteStorage; SQLiteStorage.init_db('dailies')"
    store = {**one.environment, "TRACKIO_DIR": str(folder / "workspace" / "trackio")}
    subprocess.run([python, "-c", fill], env=store, check=True, timeout=START_S)
    one.start()
    yield one
    one.stop()


# ---- What a request may carry
ROUTES = ["/voting/vote", "/voting/next", "/gradio_api/queue/join", "/gradio_api/component_server/", "/login", "/x"]


@pytest.mark.parametrize("path", [*ROUTES, "/trackio/api/get_logs", UPLOAD])
def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(served: Served, path: str) -> None:
    length = LIMITS.get(path, LIMIT) + 1
    said = served.raw(served.head(path, f"Content-Length: {length}", f"Cookie: {served.cookie()}"), b"secret")
    assert b" 413 " in said.split(b"\r\n")[0] and b"secret" not in said


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_says_no_length_is_refused_when_it_passes_the_limit(served: Served, path: str) -> None:
    limit = LIMITS.get(path, LIMIT)
    head = served.head(path, "Transfer-Encoding: chunked", f"Cookie: {served.cookie()}")
    chunk = b"10000\r\n" + b"s" * 0x10000 + b"\r\n"
    start = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        meanwhile = other.submit(served.ask, "GET", "/login")
        said = served.raw(head, *[chunk] * (limit // 0x10000 + 2))
        assert meanwhile.result().status == 200 and meanwhile.result().seconds < WIRE_S
    assert (said.split(b"\r\n")[0].split()[1:2] == [b"413"] and b"sss" not in said) or said == b""
    assert time.monotonic() - start < WIRE_S, "it answers or hangs up, and the client does not lose patience"


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/voting/vote", UPLOAD])
def test_a_stranger_is_refused_before_the_body_comes(served: Served, path: str) -> None:
    said = served.raw(served.head(path, "Content-Length: 60000", "Content-Type: application/json"), b"{")
    assert b" 401 " in said.split(b"\r\n")[0]


def test_a_body_longer_than_it_says_hurts_nobody(served: Served) -> None:
    head = f"POST /voting/next HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 2\r\n".encode()
    said = served.raw(head + b"Content-Type: application/json\r\n\r\n", b"{}" + b"x" * 2**20)
    assert said.split(b"\r\n")[0].split()[1] in (b"400", b"401"), said[:300]
    assert served.ask("GET", "/login").status == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"[" * 60_000, "application/json", 400),
        (b"[" * 65 + b"]" * 65, "application/json", 400),
        (b"[" * 64 + b"]" * 64, "application/json", 422),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"1" * 5000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"[1, 2]", "application/json", 422),
    ],
)
def test_a_body_that_is_no_use_is_one_sentence(served: Served, body: bytes, kind: str, status: int) -> None:
    before_s = served.cpu_s()
    reply = served.ask("POST", "/voting/vote", body, cookie=served.cookie(), content_type=kind)
    assert reply.status == status and len(reply.body) < 300 and b"problem" in reply.body
    assert served.cpu_s() - before_s < 1


def test_an_upload_on_a_full_disk_is_one_sentence_and_leaves_nothing(served: Served) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    body = part + bytes(FILE_LIMIT + 2**20) + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    reply = served.ask("POST", UPLOAD, body, cookie=served.cookie(), content_type=kind)
    assert reply.status == 507 and b"disk" in reply.body
    assert not [path for path in (served.folder / "workspace" / "uploads").rglob("*") if path.is_file()]
    field_only = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + bytes(2**20) + b"\r\n--b--\r\n"
    assert served.ask("POST", UPLOAD, field_only, cookie=served.cookie(), content_type=kind).status == 413


# ---- Logins
def login(served: Served, name: str, password: str, source: str = DIRECT, **headers: str) -> Reply:
    form = "application/x-www-form-urlencoded"
    body = f"name={name}&password={password.replace(' ', '+')}"
    return served.ask("POST", "/login", body, source, content_type=form, **headers)


def test_a_hundred_logins_at_once_stop_nobody_else(served: Served) -> None:
    def guess(number: int) -> Reply:
        return login(served, f"guess{number}", "wrong", PROXY, X_Forwarded_For=f"198.51.100.{number}")

    with ThreadPoolExecutor(100) as crowd:
        guesses = [crowd.submit(guess, number) for number in range(100)]
        others = [served.ask("GET", "/voting/me", cookie=served.cookie())]
        assert not all(one.done() for one in guesses), "they are answered between the guesses, not after them"
        others += [served.ask("GET", "/voting/me", cookie=served.cookie()) for _ in range(19)]
        replies = [one.result() for one in guesses]
    assert {one.status for one in others} == {200} and max(one.seconds for one in others) < WIRE_S
    said = Counter(one.status for one in replies)
    assert said[503] > 50 and said[403] >= 16 and set(said) == {403, 503}
    assert all(one.headers["retry-after"] == "5" for one in replies if one.status == 503)


def test_who_is_no_proxy_cannot_choose_the_address_that_failures_count_for(served: Served) -> None:
    tries = [login(served, "bert", "x", X_Forwarded_For=f"203.0.113.{number}").status for number in range(6)]
    assert tries == [403] * 5 + [429]
    behind = [login(served, "carl", "x", PROXY, X_Forwarded_For=f"203.0.113.{number}").status for number in range(6)]
    assert behind == [403] * 6
    same = [login(served, "dora", "x", PROXY, X_Forwarded_For="198.51.100.7, 203.0.113.99").status for _ in range(6)]
    assert same == [403] * 5 + [429]


def test_a_proxy_says_by_which_address_the_browser_came(served: Served) -> None:
    forwarded = {"X_Forwarded_For": "203.0.113.200", "X_Forwarded_Proto": "https"}
    came = login(served, "eva", PASSWORD, PROXY, Origin=PUBLIC, **forwarded)
    assert came.status == 303 and "secure" in came.headers["set-cookie"].lower()
    for more in ({}, {"X_Forwarded_Host": "dailies.example.org"}):
        config = served.ask("GET", "/config", source=PROXY, cookie=served.cookie(), **forwarded, **more)
        assert json.loads(config.body)["root"] == PUBLIC
    lied = served.ask("GET", "/config", cookie=served.cookie(), X_Forwarded_Host="evil.example", **forwarded)
    assert json.loads(lied.body)["root"] == f"http://127.0.0.1:{served.port}"
    assert served.ask("GET", "/config", source=PROXY, X_Forwarded_Host="evil.example").status == 403


def test_a_session_ends_with_its_logout_also_after_a_restart(served: Served) -> None:
    first, second = served.cookie(), served.cookie()
    assert served.ask("GET", "/voting/me", cookie=first).status == 200
    assert served.ask("GET", "/logout", cookie=first).status == 303
    assert served.ask("GET", "/voting/me", cookie=first).status == 401
    served.stop()
    served.start()
    assert served.ask("GET", "/voting/me", cookie=first).status == 401
    assert served.ask("GET", "/voting/me", cookie=second).status == 200


def test_every_answer_has_the_security_headers(served: Served) -> None:
    answers = [
        served.ask("GET", "/login"),
        served.ask("GET", "/voting/me"),
        served.ask("GET", "/", cookie=served.cookie(), accept="text/html"),
        served.ask("GET", "/config", cookie=served.cookie()),
        served.ask("GET", "/nothing", cookie=served.cookie()),
        served.ask("GET", "/", host="evil.example"),
        served.ask("POST", "/voting/vote", b"x" * (LIMIT + 1), cookie=served.cookie()),
        served.ask("GET", "/logout"),
    ]
    assert [one.status for one in answers] == [200, 401, 200, 200, 404, 403, 413, 303]
    for one in answers:
        assert one.headers["x-frame-options"] == "DENY" and one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["referrer-policy"] == "same-origin"
        policy = one.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
        scripts = re.findall(r"script-src ([^;]*)", policy)
        assert all("unsafe-inline" not in sources and "http" not in sources for sources in scripts)


def test_a_workspace_is_for_the_account_that_serves_it(served: Served) -> None:
    made = [path for path in (served.folder / "workspace").rglob("*") if "trackio" not in path.parts]
    assert len(made) > 3
    assert {oct(path.stat().st_mode & 0o077) for path in made} == {"0o0"}
    assert (served.folder / "users.json.ended").stat().st_mode & 0o077 == 0


def test_it_stops_while_a_request_is_open(served: Served) -> None:
    assert served.process is not None
    length = f"Content-Length: {LIMIT}"
    head = served.head("/voting/vote", length, "Content-Type: application/json", f"Cookie: {served.cookie()}")
    with socket.create_connection(("127.0.0.1", served.port)) as wire:
        wire.sendall(head + b"{")
        assert served.ask("GET", "/login").status == 200
        served.process.terminate()
        assert served.process.wait(timeout=OPEN_REQUESTS_S + START_S) is not None
    served.start()
