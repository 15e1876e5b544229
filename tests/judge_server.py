"""A judge on loopback for tests: an OpenAI-compatible server with a known preference, the share of red in a video."""

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

Reply = Callable[[dict[str, Any]], tuple[int, Any]]


@dataclass
class StubJudge:
    """The running judge: its address, its behaviour, and the requests that it received."""

    url: str
    reply: Reply
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def judge_server(reply: Reply) -> Iterator[StubJudge]:
    """Serve on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.requests.append(body)
            judge.paths.append(self.path)
            status, answer = judge.reply(body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    judge = StubJudge(url=f"http://127.0.0.1:{server.server_port}/v1", reply=reply)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def videos(body: dict[str, Any]) -> list[list[np.ndarray]]:
    """Return the frames of each video of a request; a text "Video X:" begins one."""
    found: list[list[np.ndarray]] = []
    for part in body["messages"][-1]["content"]:
        if part["type"] == "text" and part["text"].startswith("Video "):
            found.append([])
        elif part["type"] == "image_url":
            data = base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            found = found or [[]]
            found[-1].append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return found


def redness(frames: list[np.ndarray]) -> float:
    """Return the share of red in 0..1."""
    mean = np.mean([frame.mean(axis=(0, 1)) for frame in frames], axis=0)
    return float(mean[0] / (mean.sum() + 1e-9))


def say(text: str) -> tuple[int, Any]:
    return 200, {"model": "stub-judge-1", "choices": [{"message": {"role": "assistant", "content": text}}]}


def prefers_red(body: dict[str, Any]) -> tuple[int, Any]:
    """Choose the redder video; equal ones are a tie."""
    first, second = (redness(frames) for frames in videos(body))
    return say("tie" if first == second else "A" if first > second else "B.")


def yes_with(probability: float, **more: float) -> tuple[int, Any]:
    """Answer yes and no with log-probabilities; `more` are further tokens with their probabilities."""
    shares = {"Yes": 0.75 * probability, " yes": 0.25 * probability, "No": 1 - probability, **more}
    tokens = [{"token": token, "logprob": math.log(share)} for token, share in shares.items() if share > 0]
    choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"token": "Yes", "top_logprobs": tokens}]}}
    return 200, {"model": "stub-judge-1", "choices": [choice]}
