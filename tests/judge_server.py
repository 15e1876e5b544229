"""A judge on loopback for tests: an OpenAI-compatible server with a known preference, the share of red in a video."""

import base64
import math
from contextlib import AbstractContextManager
from typing import Any

import cv2
import numpy as np

from tests.loopback_server import Behaviour, StubServer, json_server


def judge_server(behaviour: Behaviour) -> AbstractContextManager[StubServer]:
    """Serve on a free port until the end of the block."""
    return json_server(behaviour, "/v1")


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
