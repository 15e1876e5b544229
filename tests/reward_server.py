"""A reward server on loopback for tests: its behaviour is a function from the request to status and body."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[dict[str, Any]], tuple[int, Any]]


@dataclass
class StubServer:
    """The running server: its address, its behaviour, and the requests and tokens that it received."""

    url: str
    behaviour: Behaviour
    requests: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)


@contextmanager
def reward_server(behaviour: Behaviour) -> Iterator[StubServer]:
    """Serve on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.requests.append(body)
            stub.tokens.append(self.headers.get("Authorization"))
            status, answer = stub.behaviour(body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = StubServer(url=f"http://127.0.0.1:{server.server_port}/score", behaviour=behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def redness(body: dict[str, Any]) -> tuple[int, Any]:
    """Answer the share of red in the first frame of each clip."""
    from rewards.external.clip_json import decode_frames

    means = [decode_frames(clip["frames"])[0].mean(axis=(0, 1)) for clip in body["clips"]]
    results = [{"score": float(mean[0] / (mean.sum() + 1e-9))} for mean in means]
    return 200, {"model": "redness", "version": "1", "results": results}
