"""HTTP rewards against a server on loopback: numbers, retries, and every way to fail."""

import gc
import logging
import threading
from dataclasses import asdict

import numpy as np
import pytest

from rewards import Clip, Mix, as_reward_funcs, mix_reward_func
from rewards.errors import RewardError
from rewards.external.clip_json import decode_frames, encode_clip
from rewards.external.declaration import HttpServer
from rewards.external.http_client import HttpClient
from rewards.external.probe import has_changed, probe_clip, run_probe
from rewards.external.registry import hold_declarations, open_external, release_declarations
from rewards.suite import RewardSuite
from tests.reward_server import redness, reward_server

FAST = "backoff_s = 0.001\ntimeout_s = 2\n"


def declared(url: str, more: str = "") -> str:
    return f'title = "Judge"\n[http]\nurl = "{url}"\n{FAST}{more}'


def clips(count: int) -> list[Clip]:
    random = np.random.default_rng(0)
    return [
        Clip(frames=random.integers(0, 255, (9, 32, 48, 3), dtype=np.uint8), fps=8, prompt=f"prompt {number}")
        for number in range(count)
    ]


def suite(**weights: float) -> RewardSuite:
    return RewardSuite(Mix(key="mine", title="Mine", weights=weights, calibration="mini"))


def share_of_red(clip: Clip) -> float:
    mean = clip.frames[0].mean(axis=(0, 1))
    return float(mean[0] / mean.sum())


def test_an_http_reward_counts_in_a_mix(declarations):
    with reward_server(redness) as server:
        declarations("judge", declared(server.url, "batch = 2\n"))
        group = clips(5)
        reports = suite(judge=1.0, framing=1.0).score_group(group)
        values = [report.parts["judge"] for report in reports]
        assert values == pytest.approx([share_of_red(clip) for clip in group])
        assert [len(request["clips"]) for request in sorted(server.requests, key=lambda r: -len(r["clips"]))] == [
            2,
            2,
            1,
        ]
        assert all(report.total is not None and set(report.weights) == {"judge", "framing"} for report in reports)
        assert reports[0].results["judge"].backend == "redness 1"
        assert "+judge@" in reports[0].calibration


def test_frames_arrive_as_they_are():
    clip = clips(1)[0]
    sent = encode_clip(clip)
    assert np.array_equal(decode_frames(sent["frames"]), clip.frames)
    smooth = probe_clip()
    few = encode_clip(smooth, frames=3, picture="jpeg")
    assert few["indices"] == [0, 8, 16] and few["num_frames"] == 17 and few["fps"] == 8.0
    assert np.abs(decode_frames(few["frames"]).astype(int) - smooth.frames[[0, 8, 16]]).mean() < 2


def test_sub_scores_come_from_one_call(declarations):
    def answer(body):
        return 200, {"results": [{"scores": {"vq": 1.0, "mq": None}, "reason": "no motion"} for _ in body["clips"]]}

    with reward_server(answer) as server:
        declarations(
            "align",
            'title = "Align"\n[scores.vq.calibration]\nbad = -1\ngood = 3\n[scores.mq]\n'
            f'[http]\nurl = "{server.url}"\n',
        )
        report = suite(**{"align.vq": 1.0, "align.mq": 1.0}).score(clips(1)[0])
    assert len(server.requests) == 1 and server.requests[0]["names"] == ["vq", "mq"]
    assert report.parts == {"align.vq": 0.5, "align.mq": None}
    assert report.results["align.vq"].raw == 1.0 and report.results["align.mq"].reason == "no motion"


def ok(body, score=0.5):
    return 200, {"results": [{"score": score} for _ in body["clips"]]}


FAILURES = {
    "status 400": (lambda body: (400, {"error": "bad prompt"}), "status 400", 1),
    "status 503": (lambda body: (503, b""), "status 503, in 3 attempts", 3),
    "no gzip": (lambda body: ok(body), "answered with content that cannot be decompressed", 1),
    "no json": (lambda body: (200, b"<html>"), "is not JSON", 1),
    "no results": (lambda body: (200, {"score": 1}), "without a list `results`", 1),
    "short list": (lambda body: (200, {"results": []}), "0 results for 1 clips", 1),
    "nan": (lambda body: (200, b'{"results": [{"score": NaN}]}'), "nan, which is no finite number", 1),
    "text": (lambda body: ok(body, "good"), "'good', which is no finite number", 1),
    "other names": (lambda body: (200, {"results": [{"scores": {"vq": 1}}]}), "instead of one number", 1),
    "no score": (lambda body: (200, {"results": [{"value": 1}]}), "without `score`", 1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_a_missing_reward_with_its_reason_and_never_zero(declarations, name, caplog):
    behaviour, message, calls = FAILURES[name]
    with reward_server(behaviour) as server:
        server.headers |= {"Content-Encoding": "gzip"} if name == "no gzip" else {}
        declarations("judge", declared(server.url))
        with caplog.at_level(logging.WARNING):
            report = suite(judge=1.0, framing=1.0).score(clips(1)[0])
    assert report.parts["judge"] is None and report.weights == {"framing": 1.0}
    assert report.total is None, "the mean of the others compares with no other total"
    assert any(note.startswith("judge failed, so the clip has no total. ") for note in report.notes)
    assert message in report.missing["judge"] and "judge" in report.missing["judge"]
    assert len(server.requests) == calls


@pytest.mark.parametrize("name", ["status 400", "nan"])
def test_a_failure_of_a_required_reward_stops_the_work(declarations, name):
    behaviour, message, _ = FAILURES[name]
    with reward_server(behaviour) as server:
        declarations("judge", "required = true\n" + declared(server.url))
        with pytest.raises(RewardError, match=f"{message}.*required"):
            suite(judge=1.0).score(clips(1)[0])


def test_two_failures_that_pass_are_retried(declarations):
    answers = [(500, b""), (429, b"")]
    with reward_server(lambda body: answers.pop() if answers else ok(body)) as server:
        declarations("judge", declared(server.url))
        assert suite(judge=1.0).score(clips(1)[0]).parts["judge"] == 0.5
    assert len(server.requests) == 3


@pytest.mark.parametrize(("header", "waited"), [("1", 1.0), ("600", 2.0), ("soon", 0.001)])
def test_a_busy_server_is_asked_again_when_it_says_within_the_time_limit(declarations, monkeypatch, header, waited):
    answers, waits = [(429, b"")], []
    with reward_server(lambda body: answers.pop() if answers else ok(body)) as server:
        server.headers["Retry-After"] = header
        declarations("judge", declared(server.url))
        monkeypatch.setattr("rewards.external.json_calls.time.sleep", waits.append)
        assert suite(judge=1.0).score(clips(1)[0]).parts["judge"] == 0.5
    assert waits[0] == waited


def test_a_server_that_is_down_or_hangs_is_missing_in_time(declarations):
    declarations("judge", declared("http://127.0.0.1:9/score"))
    assert "cannot be reached" in suite(judge=1.0).score(clips(1)[0]).missing["judge"]
    released = threading.Event()

    def hang(body):
        released.wait(20)
        return ok(body)

    with reward_server(hang) as server:
        declarations("judge", declared(server.url, "attempts = 1\n").replace("timeout_s = 2", "timeout_s = 0.2"))
        report = suite(judge=1.0).score(clips(1)[0])
        released.set()
    assert "no answer within 0.2 s" in report.missing["judge"]


def test_calls_run_at_the_same_time():
    """Eight calls that each wait for all eight can only be answered if they overlap."""
    barrier = threading.Barrier(8, timeout=20)

    def together(body):
        barrier.wait()
        return ok(body)

    with reward_server(together) as server:
        client = HttpClient("judge", HttpServer(url=server.url, attempts=1), [""])
        answers = client.score(clips(8))
        client.close()
    assert [answer.scores for answer in answers] == [{"": 0.5}] * 8


def test_token_is_sent_and_shown_nowhere(declarations, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_TOKEN", "s3cret")
    with reward_server(lambda body: (403, {"error": "no"})) as server:
        path = declarations("judge", declared(server.url, 'token_env = "JUDGE_TOKEN"\n'))
        report = suite(judge=1.0, framing=1.0).score(clips(1)[0])
    assert server.tokens == ["Bearer s3cret"]
    assert "s3cret" not in caplog.text + str(report.to_dict()) + path.read_text()
    monkeypatch.delenv("JUDGE_TOKEN")
    assert "set the environment variable JUDGE_TOKEN" in suite(judge=1.0).score(clips(1)[0]).missing["judge"]


def test_raw_scores_outside_the_unit_interval_need_a_calibration(declarations):
    with reward_server(lambda body: ok(body, 3.5)) as server:
        declarations("judge", declared(server.url))
        assert "gave 3.5, but" in suite(judge=1.0).score(clips(1)[0]).missing["judge"]
        declarations("judge", "required = true\n" + declared(server.url))
        with pytest.raises(RewardError, match=r"gave 3.5, .*`bad` and `good`.*required"):
            suite(judge=1.0).score(clips(1)[0])
        declarations("judge", declared(server.url) + "[calibration]\nbad = 0\ngood = 7\n")
        assert suite(judge=1.0).score(clips(1)[0]).parts["judge"] == 0.5


@pytest.mark.parametrize(("raw", "value"), [(1.0000001, 1.0), (-1e-7, 0.0)])
def test_a_rounded_probability_is_no_failure(declarations, raw, value):
    with reward_server(lambda body: ok(body, raw)) as server:
        declarations("judge", declared(server.url))
        assert suite(judge=1.0).score(clips(1)[0]).parts["judge"] == value


def test_trl_functions_share_the_call(declarations):
    with reward_server(redness) as server:
        declarations("judge", declared(server.url))
        mix = Mix(key="mine", title="Mine", weights={"judge": 1.0, "framing": 1.0}, calibration="mini")
        group = clips(2)
        prompts = [clip.prompt for clip in group]
        parts = {function.__name__: function(prompts, group) for function in as_reward_funcs(mix)}
        assert parts["judge"] == pytest.approx([share_of_red(clip) for clip in group])
        assert len(server.requests) == 2
        assert all(0 <= total <= 1 for total in mix_reward_func(mix)(prompts, group))


def test_a_clip_whose_call_failed_moves_neither_up_nor_down(declarations):
    """The total of the others would be higher than those of the group: the policy would learn to make calls fail."""
    group = clips(4)

    def fails_on_one(body):
        is_bad = [clip["prompt"] == "prompt 2" for clip in body["clips"]]
        return 200, {"results": [{"error": "out of memory"} if bad else {"score": 0.1} for bad in is_bad]}

    with reward_server(fails_on_one) as server:
        declarations("judge", declared(server.url))
        mix = Mix(key="mine", title="Mine", weights={"judge": 1.0, "framing": 1.0}, calibration="mini")
        totals = mix_reward_func(mix)([clip.prompt for clip in group], group)
    assert [total is None for total in totals] == [False, False, True, False]


def test_probe_tells_model_latency_and_a_changed_answer(declarations):
    with reward_server(redness) as server:
        declarations("judge", declared(server.url))
        first, again = run_probe("judge"), run_probe("judge")
        assert first.scores == {"judge": pytest.approx(share_of_red(probe_clip()))}
        assert (first.identity, first.kind, first.address) == ("redness 1", "http", server.url)
        assert not has_changed(asdict(first), again) and first.seconds > 0 and not first.error
        server.behaviour = lambda body: ok(body, 0.4)
        assert has_changed(asdict(first), run_probe("judge"))
        server.behaviour = lambda body: (400, b"")
        assert "status 400" in run_probe("judge").error


RANGED = "[calibration]\nbad = -5\ngood = 5\n"


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"score": 2.1}, False),
        ({"score": 2.3}, True),
        ({"score": None, "reason": "no"}, True),
        ({"score": 2.0, "version": "2"}, True),
    ],
)
def test_a_probe_tolerates_the_noise_of_a_gpu_and_no_other_version(declarations, now, changed):
    answer = {"score": 2.0}

    def behaviour(body):
        return 200, {"model": "m", "version": answer.get("version", "1"), "results": [dict(answer)]}

    with reward_server(behaviour) as server:
        declarations("judge", declared(server.url) + RANGED)
        first = asdict(run_probe("judge"))
        answer = now
        assert has_changed(first, run_probe("judge")) == changed


def test_an_edit_while_a_reward_is_in_use_neither_closes_nor_changes_it(declarations):
    with reward_server(redness) as server:
        path = declarations("judge", declared(server.url))
        used, clip = suite(judge=1.0), clips(1)[0]
        first = used.score(clip).parts["judge"]
        path.write_text(declared(server.url).replace("timeout_s = 2", "timeout_s = 3") + RANGED)
        assert not run_probe("judge").error, "opens the new declaration"
        assert used.score(clip).parts["judge"] == first
        assert suite(judge=1.0).score(clip).parts["judge"] != first
        old = open_external("judge").source.client
        path.write_text(declared(server.url))
        open_external("judge")
        gc.collect()
        with pytest.raises(RuntimeError, match="shutdown"):
            old.score([clip])


def test_a_process_that_holds_declarations_sees_no_edit(declarations):
    with reward_server(redness) as server:
        path, clip = declarations("judge", declared(server.url)), clips(1)[0]
        hold_declarations(["judge", "framing"])
        first = suite(judge=1.0).score(clip)
        for text in (declared(server.url) + RANGED, "title = half sav"):
            path.write_text(text)
            again = suite(judge=1.0).score(clip)
            assert (again.parts, again.calibration) == (first.parts, first.calibration)
            assert not run_probe("judge").error
        path.write_text(declared(server.url) + RANGED)
        release_declarations()
        assert suite(judge=1.0).score(clip).parts != first.parts
