"""The reward server in a process of its own, and a client on loopback: equal numbers, tokens, batches, bad requests."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from rewards import Clip, Mix, RewardError
from rewards.external.clip_json import decode_frames, encode_clip
from rewards.external.probe import probe_clip
from rewards.server.api import build_api
from rewards.server.run import mix_of, token_from
from rewards.server.scoring import BatchScorer, ServedRewards, ServedScores, answer_of
from rewards.suite import RewardSuite

FUNCTION = """
def first_red(prompts, completions, fps, **_):
    return [None if prompt == "none" else float(frames[0, ..., 0].mean()) / 255
            for prompt, frames in zip(prompts, completions)]
def fail(prompts, **_):
    raise ValueError("no model")
"""
MIX = """
title = "Served"
calibration = "mini"
[weights]
framing = 1
red = 2
"""


@contextmanager
def served(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Start `python -m rewards.server` on a free port; give the scoring address."""
    command = [sys.executable, "-m", "rewards.server", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line
        yield found.group(0)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's own declarations: the reward `red`, one that fails, and a mix."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "own.py").write_text(FUNCTION)
    for key, function in (("red", "first_red"), ("broken", "fail")):
        (folder / f"{key}.toml").write_text(f'title = "{key}"\n[python]\nfunction = "own.py:{function}"\n')
    (folder / "mixes").mkdir()
    (folder / "mixes" / "served.toml").write_text(MIX)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    arguments = ("--mix", str(folder / "mixes" / "served.toml"), "--declarations", str(folder))
    with served(*arguments, "--token-env", "SERVED_TOKEN", environment={"SERVED_TOKEN": "s3cret"}) as url:
        yield url


def moving(seed: int, prompt: str = "a red square") -> Clip:
    """Return the probe with noise of its own, so that clips differ."""
    noise = np.random.default_rng(seed).integers(0, 30, probe_clip().frames.shape, dtype=np.uint8)
    return Clip(frames=probe_clip().frames // 2 + noise, fps=8, prompt=prompt)


HEADERS = {"Authorization": "Bearer s3cret", "Content-Type": "application/json"}


def ask(url: str, body: object, headers: dict[str, str] = HEADERS) -> httpx.Response:
    return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)


def test_a_client_gets_the_numbers_of_local_scoring(address, declarations, monkeypatch, folder):
    monkeypatch.setenv("JUDGE_TOKEN", "s3cret")
    group = [moving(seed) for seed in range(3)]
    http = f'[http]\nurl = "{address}"\ntoken_env = "JUDGE_TOKEN"\nbatch = 2\n'
    declarations("far", f'title = "Far"\n[scores.total]\n[scores.framing]\n[scores.red]\n{http}')
    declarations("far_total", f'title = "Far"\n{http}')
    keys = ("far.total", "far.framing", "far.red", "far_total")
    far = RewardSuite(Mix(key="far", title="Far", weights=dict.fromkeys(keys, 1.0), calibration="mini"))
    reports = far.score_group(group)

    declarations("red", f'title = "red"\n[python]\nfunction = "{folder / "own.py"}:first_red"\n')
    here = RewardSuite(Mix(key="here", title="H", weights={"framing": 1, "red": 2}, calibration="mini"))
    local = here.score_group(group)
    for report, own in zip(reports, local, strict=True):
        assert not report.missing
        assert report.parts["far.framing"] == own.parts["framing"]
        assert report.parts["far.red"] == own.parts["red"]
        assert report.parts["far.total"] == report.parts["far_total"] == own.total
    assert reports[0].results["far.red"].backend.startswith("served mini-")


def test_health_and_listing(address):
    base = address.removesuffix("/score")
    health = httpx.get(f"{base}/health", trust_env=False).json()
    assert health == {"status": "ok", "protocol": 1, "waiting": 0}
    assert httpx.get(f"{base}/rewards", trust_env=False).status_code == 401
    listing = httpx.get(f"{base}/rewards", headers=HEADERS, trust_env=False).json()
    assert listing["names"] == ["total", "framing", "red"] and listing["default"] == "total"
    assert listing["model"] == "served" and "+red@" in listing["version"]
    assert [reward["title"] for reward in listing["rewards"]][1] == "red"


def test_a_score_that_does_not_apply_is_null_with_its_reason(address):
    body = {"protocol": 1, "names": ["red"], "clips": [encode_clip(moving(0, "none"))]}
    [result] = ask(address, body).json()["results"]
    assert result["scores"] == {"red": None} and "red" in result["reason"]


def test_a_failing_reward_is_an_error_of_the_clip(folder, declarations):
    with served("broken", "--declarations", str(folder)) as url:
        declarations("far", f'title = "Far"\n[http]\nurl = "{url}"\n')
        far = RewardSuite(Mix(key="far", title="F", weights={"far": 1.0, "framing": 1.0}, calibration="mini"))
        report = far.score(moving(0))
    assert report.parts["far"] is None and "raised ValueError: no model" in report.missing["far"]


def png(width: int, height: int) -> str:
    """Return a tiny file that says it is a picture of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def changed(**changes: object) -> dict[str, object]:
    return {"protocol": 1, "names": ["red"], "clips": [{**encode_clip(moving(0)), **changes}]}


BAD = {
    "no json": (b"{", "Invalid JSON"),
    "a list": ([], "the body"),
    "other protocol": ({**changed(), "protocol": 2}, "protocol is 2"),
    "unknown name": ({**changed(), "names": ["blue"]}, "no score 'blue' on this server: name some of total"),
    "no clips": ({**changed(), "clips": []}, "wrong at clips"),
    "no frames": (changed(frames=[]), "clips.0.frames"),
    "no base64": (changed(frames=["???"]), "request is wrong"),
    "no picture": (changed(frames=[base64.b64encode(b"GIF89a").decode()]), "no png or jpeg"),
    "damaged picture": (changed(frames=[png(64, 64)]), "damaged"),
    "huge picture": (changed(frames=[png(60_000, 60_000)]), "no png or jpeg"),
    "many pixels": (changed(frames=[png(9_000, 9_000)] * 16), "16 frames of 9000x9000 are more than"),
    "sizes": (changed(frames=[png(8, 8), png(9, 9)]), "2 different sizes"),
    "too many frames": (changed(num_frames=3), "17 frames were sent of a clip of 3"),
    "fps": (changed(fps=0), "clips.0.fps"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_in_a_sentence_and_the_server_lives(address, name):
    body, message = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx.post(address, content=content, headers=HEADERS, timeout=60, trust_env=False)
    assert response.status_code == 400 and message in response.json()["error"]
    assert ask(address, changed()).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": b"Bearer \xff"}])
def test_requests_without_the_token_are_refused(address, headers):
    response = httpx.post(address, json=changed(), headers=headers, trust_env=False)
    assert response.status_code == 401 and "s3cret" not in response.text


def test_without_a_token_no_other_site_reaches_the_server():
    api = build_api(ServedRewards(mix_of(["framing"]), total=False))
    with TestClient(api, base_url="http://127.0.0.1:8090") as client:
        body = json.dumps({**changed(), "names": ["framing"]})
        assert client.post("/score", content=body, headers={"Content-Type": "text/plain"}).status_code == 415
        for path in ("/score", "/rewards"):
            method = "GET" if path == "/rewards" else "POST"
            headers = {"Host": "rebound.example", "Content-Type": "application/json"}
            refused = client.request(method, path, content=body, headers=headers)
            assert refused.status_code == 403 and "'rebound.example' is not this machine's" in refused.json()["error"]
        for host in ("localhost:8090", "[::1]:8090"):
            headers = {"Host": host, "Content-Type": "application/json"}
            assert client.post("/score", content=body, headers=headers).status_code == 200


def test_the_clips_of_a_request_have_no_more_pixels_than_one_may_have(monkeypatch):
    clip = encode_clip(moving(0))
    one = probe_clip().num_frames * probe_clip().height * probe_clip().width
    monkeypatch.setattr("rewards.server.api.MAX_PIXELS", 2 * one)
    api = build_api(ServedRewards(mix_of(["framing"]), total=False))
    with TestClient(api, base_url="http://127.0.0.1") as client:
        for count, status in ((2, 200), (3, 400)):
            said = client.post("/score", json={"protocol": 1, "clips": [clip] * count})
            assert said.status_code == status
    assert "send fewer at once" in said.json()["error"]


def test_health_answers_while_all_threads_wait_for_scores():
    release = threading.Event()

    class Slow(ServedRewards):
        def score(self, clips):
            assert release.wait(20)
            return super().score(clips)

    async def ask_all() -> list[httpx.Response]:
        api = build_api(Slow(mix_of(["framing"]), total=False))
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            body = {"protocol": 1, "clips": [encode_clip(moving(0), frames=2)]}
            scorings = [asyncio.create_task(client.post("/score", json=body)) for _ in range(45)]
            try:
                while (await asyncio.wait_for(client.get("/health"), 10)).json()[
                    "waiting"
                ] < 32:  # of 40 threads; a batch has up to 8
                    pass
            finally:
                release.set()
            return await asyncio.gather(*scorings)

    assert {reply.status_code for reply in asyncio.run(ask_all())} == {200}


def test_fewer_frames_have_a_lower_frame_rate(address):
    clip = moving(0)
    body = {"protocol": 1, "names": ["framing"], "clips": [encode_clip(clip, frames=9)]}
    [result] = ask(address, body).json()["results"]
    frames = decode_frames(encode_clip(clip, frames=9)["frames"])
    half = RewardSuite(Mix(key="h", title="H", weights={"framing": 1.0}, calibration="mini"))
    expected = half.score(Clip(frames=frames, fps=4, prompt=clip.prompt)).parts["framing"]
    assert result["scores"]["framing"] == expected


def test_waiting_requests_share_a_batch():
    """The first request is scored while three others arrive; these become one batch of at most 4 clips, then one."""
    entered, release, batches = threading.Event(), threading.Event(), []

    class Slow(ServedRewards):
        def score(self, clips):
            batches.append(len(clips))
            entered.set()
            assert release.wait(20)
            return [ServedScores(values={"framing": clip.fps / 10}) for clip in clips]

    scorer = BatchScorer(Slow(mix_of(["framing"]), total=False), batch=4)
    answers: dict[float, list[ServedScores]] = {}

    def request(fps: float, count: int) -> None:
        clips = [Clip(frames=moving(0).frames, fps=fps)] * count
        answers[fps] = scorer.score(clips)

    first = threading.Thread(target=request, args=(1.0, 1))
    first.start()
    assert entered.wait(20)
    others = [threading.Thread(target=request, args=(fps, 2)) for fps in (2.0, 3.0, 4.0)]
    for waiting, thread in enumerate(others, start=1):
        thread.start()
        while scorer.num_waiting < waiting:
            thread.join(0.001)
    release.set()
    for thread in (first, *others):
        thread.join(20)
    scorer.close()
    assert batches == [1, 4, 2]
    assert {fps: [scored.values["framing"] for scored in scores] for fps, scores in answers.items()} == {
        1.0: [0.1],
        2.0: [0.2, 0.2],
        3.0: [0.3, 0.3],
        4.0: [0.4, 0.4],
    }


def test_one_bad_clip_does_not_stop_a_batch():
    served_rewards = ServedRewards(mix_of(["framing"]), total=False)
    thin = Clip(frames=np.zeros((4, 8, 128, 3), np.uint8), fps=8)
    good, bad = served_rewards.score([moving(0), thin])
    assert not good.errors and "too elongated" in bad.errors["framing"]


def test_a_failed_reward_is_an_error_of_its_own_name_and_of_the_total(folder, declarations):
    for key in ("red", "broken"):
        declarations(key, (folder / f"{key}.toml").read_text().replace("own.py", str(folder / "own.py")))
    mix = Mix(key="both", title="Both", weights={"red": 1.0, "broken": 1.0}, calibration="mini")
    for total in (True, False):
        (scored,) = ServedRewards(mix, total=total).score([moving(0)])
        assert answer_of(scored, ("red",), single=False)["scores"]["red"] > 0
        for name in ("broken", *(["total"] if total else [])):
            assert "raised ValueError: no model" in answer_of(scored, (name,), single=True)["error"]


def test_no_request_is_left_without_scores_when_many_arrive():
    """The batch of a request runs after that request was queued, whoever else arrives between."""

    class Fast(ServedRewards):
        def score(self, clips):
            return [ServedScores(values={"framing": 1.0}) for _ in clips]

    scorer = BatchScorer(Fast(mix_of(["framing"]), total=False), batch=8)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as threads:
            counts = list(threads.map(lambda _: len(scorer.score([moving(0)] * 3)), range(600)))
    finally:
        sys.setswitchinterval(interval)
        scorer.close()
    assert set(counts) == {3}


def test_what_cannot_be_served_is_refused_before_the_start(declarations, monkeypatch):
    judge = '[vlm]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\nmode = "pairwise"\nask = "Which?"\n'
    declarations("judge", f'title = "J"\n{judge}')
    with pytest.raises(RewardError, match="compares clips with each other"):
        ServedRewards(mix_of(["judge"]), total=False)
    with pytest.raises(RewardError, match=r"no reward 'framin'. Did you mean 'framing'"):
        mix_of(["framin"])
    with pytest.raises(RewardError, match=r"Other machines can reach a server at 0.0.0.0"):
        token_from(None, "0.0.0.0")
    monkeypatch.delenv("SERVED_TOKEN", raising=False)
    with pytest.raises(RewardError, match="SERVED_TOKEN has no token"):
        token_from("SERVED_TOKEN", "127.0.0.1")


def test_a_port_in_use_and_wrong_usage_end_in_a_sentence(address):
    port = address.split(":")[2].split("/")[0]
    command = [sys.executable, "-m", "rewards.server"]
    taken = subprocess.run([*command, "framing", "--port", port], capture_output=True, text=True, timeout=60)
    assert taken.returncode == 2 and "cannot listen at 127.0.0.1" in taken.stderr
    nothing = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert nothing.returncode == 2 and "name rewards or a --mix" in nothing.stderr


def test_the_server_imports_neither_engine_nor_app():
    code = "import sys, rewards.server.__main__; print([m for m in sys.modules if m.split('.')[0] in ('engine','app')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
