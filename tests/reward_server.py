"""A reward server on loopback for tests."""

from contextlib import AbstractContextManager
from typing import Any

from rewards.external.clip_json import decode_frames
from tests.loopback_server import Behaviour, StubServer, json_server


def reward_server(behaviour: Behaviour) -> AbstractContextManager[StubServer]:
    """Serve on a free port until the end of the block."""
    return json_server(behaviour, "/score")


def redness(body: dict[str, Any]) -> tuple[int, Any]:
    """Answer the share of red in the first frame of each clip."""
    means = [decode_frames(clip["frames"])[0].mean(axis=(0, 1)) for clip in body["clips"]]
    results = [{"score": float(mean[0] / (mean.sum() + 1e-9))} for mean in means]
    return 200, {"model": "redness", "version": "1", "results": results}
