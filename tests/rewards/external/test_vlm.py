"""VLM judges against a server on loopback: yes/no, rubrics, pairs, position bias, and answers that do not fit."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from rewards import Clip, Mix, RewardError, mix_reward_func
from rewards.external.probe import run_probe
from rewards.external.vlm import messages
from rewards.external.vlm.messages import choice_in, numbers_in
from rewards.external.vlm.table import VlmJudge
from rewards.suite import RewardSuite
from tests.judge_server import judge_server, prefers_red, redness, say, videos, yes_with

LEVELS = (40, 220, 100, 160, 10, 190, 70, 130, 250)


def clip_of(red: int, prompt: str = "a {shape} that moves") -> Clip:
    """Return a clip with this level of red, with texture so that gates can measure it."""
    frames = np.random.default_rng(red).integers(60, 120, (5, 32, 32, 3), dtype=np.uint8)
    frames[..., 0] = red
    return Clip(frames=frames, fps=8, prompt=prompt)


def declared(url: str, mode: str, more: str = "", before: str = "") -> str:
    table = (
        f'[vlm]\nurl = "{url}"\nmodel = "stub"\nmode = "{mode}"\nask = "Does it show {{prompt}}?"\nbackoff_s = 0.001\n'
    )
    return f'title = "Judge"\n{before}{table}picture = "png"\ntimeout_s = 10\n{more}'


def suite(**weights: float) -> RewardSuite:
    return RewardSuite(Mix(key="mine", title="Mine", weights=weights, calibration="mini"))


def test_yes_and_no_are_summed_over_spellings_of_the_first_token(declarations):
    with judge_server(lambda body: yes_with(0.8, maybe=0.3, yesterday=0.2)) as judge:
        declarations("judge", declared(judge.url, "yes_no", "frames = 3\n"))
        report = suite(judge=1.0).score(clip_of(90))
    assert report.parts["judge"] == pytest.approx(0.8)
    assert report.results["judge"].backend == "stub-judge-1"
    [body] = judge.requests
    assert judge.paths == ["/v1/chat/completions"]
    assert (body["max_tokens"], body["temperature"], body["top_logprobs"]) == (1, 0, 20)
    assert len(videos(body)[0]) == 3 and np.array_equal(videos(body)[0][1], clip_of(90).frames[2])
    assert body["messages"][0]["content"][-1]["text"] == "Does it show a {shape} that moves?"


def test_an_answer_without_yes_or_no_does_not_apply(declarations):
    tokens = [{"token": "Perhaps", "logprob": -0.1}]
    answer = {"choices": [{"message": {"content": "Perhaps"}, "logprobs": {"content": [{"top_logprobs": tokens}]}}]}
    with judge_server(lambda body: (200, answer)) as judge:
        declarations("judge", declared(judge.url, "yes_no"))
        result = suite(judge=1.0, framing=1.0).score(clip_of(90)).results["judge"]
    assert result.value is None and "neither yes nor no" in result.reason


def test_a_rubric_is_read_by_aspect(declarations):
    text = 'I think {"motion": 1} is low.\n```json\n{"quality": 4, "motion": 2.5, "why": "jerky"}\n```'
    with judge_server(lambda body: say(text)) as judge:
        scores = "".join(f"[scores.{name}.calibration]\nbad = 1\ngood = 5\n" for name in ("quality", "motion"))
        declarations("rubric", declared(judge.url, "rubric") + scores)
        report = suite(**{"rubric.quality": 1.0, "rubric.motion": 1.0}).score(clip_of(90))
    assert report.parts == {"rubric.quality": 0.75, "rubric.motion": 0.375}
    assert len(judge.requests) == 1
    assert '{"quality": number, "motion": number}' in judge.requests[0]["messages"][0]["content"][-1]["text"]


def test_win_rate_follows_the_preference_in_a_group_larger_than_a_batch(declarations):
    group = [clip_of(red) for red in LEVELS]
    with judge_server(prefers_red) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reports = suite(judge=1.0).score_many(group)
    order = np.argsort(np.argsort([redness(list(clip.frames)) for clip in group]))
    assert [report.parts["judge"] for report in reports] == pytest.approx((order / (len(group) - 1)).tolist())
    assert len(judge.requests) == len(group) * (len(group) - 1)
    details = reports[0].results["judge"].details
    assert details == {"compared": 8, "disagreement": 0, "unreadable": 0, "first_chosen": 0.5}


def test_a_clip_is_encoded_once_for_all_its_opponents(declarations, monkeypatch):
    encoded, encode = [], messages.encode_clip
    monkeypatch.setattr(messages, "encode_clip", lambda clip, *how: encoded.append(clip) or encode(clip, *how))
    with judge_server(prefers_red) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reports = suite(judge=1.0).score_group([clip_of(red) for red in LEVELS[:4]])
    assert len(encoded) == 4 and len(judge.requests) == 12
    assert [report.parts["judge"] for report in reports] == pytest.approx([0.0, 1.0, 1 / 3, 2 / 3])


def test_only_clips_of_one_prompt_are_compared(declarations):
    group = [clip_of(10, "one"), clip_of(200, "two"), clip_of(220, "one"), clip_of(5, "three"), clip_of(100, "two")]
    with judge_server(prefers_red) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reports = suite(judge=1.0).score_group(group)
    assert [report.parts["judge"] for report in reports] == [0.0, 1.0, 1.0, None, 0.0]
    assert "only one" in reports[3].results["judge"].reason
    assert len(judge.requests) == 4


def test_only_clips_of_one_picture_are_compared(declarations):
    """Image-to-video: a redder first picture makes redder clips, which is no merit of theirs."""
    dark, bright = (np.full((32, 32, 3), level, np.uint8) for level in (20, 200))
    group = [
        replace(clip_of(red, "one"), first_picture=picture)
        for red, picture in zip(LEVELS[:4], [dark, bright] * 2, strict=True)
    ]
    with judge_server(prefers_red) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reports = suite(judge=1.0).score_group(group)
    assert [report.parts["judge"] for report in reports] == [0.0, 1.0, 1.0, 0.0]
    assert len(judge.requests) == 4


def test_a_judge_that_always_says_a_gives_ties_and_is_reported(declarations, caplog):
    with judge_server(lambda body: say("A")) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        with caplog.at_level(logging.WARNING):
            reports = suite(judge=1.0).score_group([clip_of(red) for red in LEVELS[:4]])
    assert [report.parts["judge"] for report in reports] == [0.5] * 4
    details = reports[0].results["judge"].details
    assert details["first_chosen"] == 1.0 and details["disagreement"] == 1.0
    assert "in first place in 100 % of 12 answers: it judges the place, not the video" in caplog.text


def test_a_biased_judge_still_ranks_what_differs_clearly(declarations):
    def favours_the_first(body):
        first, second = (redness(frames) for frames in videos(body))
        return say("A" if first + 0.15 > second else "B")

    group = [clip_of(red) for red in (10, 30, 240, 250)]
    with judge_server(favours_the_first) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reports = suite(judge=1.0).score_group(group)
    low, low_too, high, high_too = (report.parts["judge"] for report in reports)
    assert low == low_too == pytest.approx(1 / 6) and high == high_too == pytest.approx(5 / 6)
    assert reports[0].results["judge"].details["first_chosen"] == pytest.approx(4 / 6)


def test_equal_and_unreadable_answers_are_ties(declarations):
    with judge_server(lambda body: say("Both are nice.")) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        missing = suite(judge=1.0, framing=1.0).score_group([clip_of(10), clip_of(90)])[0].missing
        assert "no answer that is A, B or tie" in missing["judge"]
        answers = iter(["Video A is brighter. Answer: B", "I cannot decide"])
        judge.behaviour = lambda body: say(next(answers))
        declarations("judge", declared(judge.url, "pairwise", "concurrency = 1\n"))
        reports = suite(judge=1.0).score_group([clip_of(10), clip_of(90)])
    assert [report.parts["judge"] for report in reports] == [0.5, 0.5]
    assert reports[0].results["judge"].details["unreadable"] == 0.5


def test_a_failed_comparison_leaves_out_the_clips_that_it_is_about(declarations):
    group = [clip_of(10), clip_of(90), clip_of(200)]

    def fails_for_the_first(body):
        about = {round(float(frames[0][..., 0].mean())) for frames in videos(body)}
        return (400, {"error": "too dark"}) if about == {10, 90} else prefers_red(body)

    with judge_server(fails_for_the_first) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reports = suite(judge=1.0, framing=1.0).score_group(group)
    assert [report.parts["judge"] for report in reports] == [None, None, 1.0]
    assert "status 400" in reports[0].missing["judge"]


def test_fields_of_the_request_are_added_and_left_out(declarations):
    body = "body = { max_completion_tokens = 400, seed = 3, extra = { think = false } }"
    more = f'omit = ["max_tokens", "temperature"]\n{body}\n'
    with judge_server(lambda body: say('{"score": 0.5}')) as judge:
        declarations("judge", declared(judge.url, "rubric", more))
        assert suite(judge=1.0).score(clip_of(90)).parts["judge"] == 0.5
    (body,) = judge.requests
    assert (body["max_completion_tokens"], body["seed"], body["extra"]) == (400, 3, {"think": False})
    assert not {"max_tokens", "temperature"} & body.keys()


def test_only_fields_that_are_set_change_what_was_asked():
    table = {"url": "http://h/v1", "model": "m", "mode": "pairwise", "ask": "Which?"}
    plain, other = VlmJudge(**table), VlmJudge(**table, body={"think": False})
    assert plain.asked == VlmJudge(**table, timeout_s=3).asked != other.asked


FAILURES = {
    "no log-probabilities": ("yes_no", say("Yes"), "no log-probabilities"),
    "positive log-probability": ("yes_no", yes_with(1.0, No=3.0), "not numbers of at most 0"),
    "no choices": ("rubric", (200, {"choices": []}), "without a message"),
    "empty message": ("rubric", (200, {"choices": [{"message": {"content": None}}]}), "without text"),
    "thought too long": (
        "pairwise",
        (200, {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}),
        "raise max_tokens, or turn off thinking",
    ),
    "no object": ("rubric", say("4 of 5"), "'4 of 5', which has no JSON object with score"),
    "not a number": ("rubric", say('{"score": "good"}'), "'good' for"),
    "nan": ("rubric", say('{"score": NaN}'), "nan"),
    "status 404": ("rubric", (404, {"error": {"message": "no such model"}}), "no such model"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_missing_with_its_reason(declarations, name):
    mode, reply, message = FAILURES[name]
    with judge_server(lambda body: reply) as judge:
        declarations("judge", declared(judge.url, mode))
        group = [clip_of(90), clip_of(10)]
        report, *_ = suite(judge=1.0, framing=1.0).score_group(group)
        assert report.parts["judge"] is None and message.split("' for")[0] in report.missing["judge"]
        declarations("judge", declared(judge.url, mode, before="required = true\n"))
        with pytest.raises(RewardError, match="required"):
            suite(judge=1.0).score_group(group)


def test_a_token_that_the_judge_repeats_is_hidden(declarations, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_TOKEN", "s3cret-token")
    with judge_server(lambda body: (401, {"error": "s3cret-token is not valid"})) as judge:
        declarations("judge", declared(judge.url, "rubric", 'token_env = "JUDGE_TOKEN"\n'))
        report = suite(judge=1.0, framing=1.0).score(clip_of(90))
        judge.behaviour = lambda body: say('{"s3cret-token": 1}')
        echoed = suite(judge=1.0, framing=1.0).score(clip_of(91))
    assert "*** is not valid" in report.missing["judge"] and "***" in echoed.missing["judge"]
    assert "s3cret" not in caplog.text + str(report.to_dict()) + str(echoed.to_dict())


@pytest.mark.parametrize(
    ("mode", "more", "message"),
    [
        ("pairwise", "[scores.a]\n", "has one score"),
        ("yes_no", "[calibration]\nbad = 0\ngood = 1\n", "in 0..1 already"),
        ("rating", "", "wrong at vlm.mode"),
        ("yes_no", 'yes = ["ja"]\nno = ["Ja "]\n', "no word may be in both"),
    ],
)
def test_declarations_that_make_no_sense_are_refused(declarations, mode, more, message):
    declarations("judge", declared("http://127.0.0.1:9/v1", mode, more))
    with pytest.raises(RewardError, match=message):
        suite(judge=1.0)


def test_a_secret_in_the_address_is_refused_without_repeating_it(declarations):
    declarations("judge", declared("https://host/v1?api_key=s3cret", "rubric"))
    with pytest.raises(RewardError, match="key or a token: put it") as refused:
        suite(judge=1.0)
    assert "s3cret" not in str(refused.value)


def test_the_probe_of_a_pairwise_judge_is_a_pair(declarations):
    with judge_server(lambda body: say("A")) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        first = run_probe("judge")
        judge.behaviour = lambda body: say("tie")
        second = run_probe("judge")
    assert first.scores == {"judge": 0.5} and not first.error and first.kind == "vlm"
    assert second.scores == {"judge": 0.5}


def test_the_gauge_of_a_judge_becomes_a_metric(declarations):
    logged: dict[str, float] = {}
    group = [clip_of(red) for red in LEVELS[:3]]
    with judge_server(lambda body: say("A")) as judge:
        declarations("judge", declared(judge.url, "pairwise"))
        reward = mix_reward_func(Mix(key="mine", title="Mine", weights={"judge": 1.0}, calibration="mini"))
        values = reward([clip.prompt for clip in group], group, log_metric=logged.__setitem__)
    assert len(values) == 3
    assert logged == {"judge/judge/first_chosen": 1.0, "judge/judge/disagreement": 1.0, "judge/judge/unreadable": 0.0}


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A", "A"),
        (" b.", "B"),
        ("**Tie**", "tie"),
        ("A is sharper than B.", ""),
        ("Answer: A? No. My final answer is\nAnswer: B", "B"),
        ("", ""),
        ("C", ""),
        ("Answer: A tie", "tie"),
        ("My answer: a tie.", "tie"),
        ("Answer: A video that moves more is better", ""),
        ("Both are good. Answer: B because it moves.", "B"),
        ("Answer: Video B", "B"),
        ("Video A is better.", "A"),
        ("The answer is **A**", "A"),
        ("<think>if the answer: A, then ...</think>\nB", "B"),
        ("<think>perhaps\nanswer: A", ""),
    ],
)
def test_choices(text, choice):
    assert choice_in(text) == choice


def test_the_last_complete_object_counts():
    assert numbers_in('{"a": {"a": 1}} {"a": 2', ["a"]) == {"a": 1}
    with pytest.raises(ValueError, match="no JSON object"):
        numbers_in("[1, 2]", ["a"])
    assert math.isinf(numbers_in('{"a": Infinity}', ["a"])["a"])
