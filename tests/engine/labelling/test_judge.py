"""AI labeller of a campaign: its votes, apart from people's; failures, kills, and the condition to train on them."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.errors import ConfigError, RewardError
from engine.files.locks import try_lock
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobProgress, JobSpec
from engine.jobs.worker import IdleTimeouts, Worker
from engine.labelling.campaign_spec import Campaign, CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import JudgeVote, judge_votes
from engine.labelling.preference_pairs import preference_pairs
from engine.labelling.run_dataset import freeze_pairs, read_lineage
from engine.labelling.stats.judge_agreement import MIN_COMMON, campaign_judges
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.training.run_creation import create_run
from engine.workspace import Workspace
from rewards.clip import Clip
from rewards.external.registry import close_external
from tests.judge_server import judge_server, prefers_red, redness, say, videos
from tests.loopback_server import StubServer

from .voters import vote_on

TABLE = (
    'title = "Red"\n[vlm]\nurl = "{url}"\nmodel = "m"\nmode = "pairwise"\nask = "{ask}"\nframes = 2\n'
    "attempts = 1\nconcurrency = 2\n"
)
PROMPTS, TAKES, PAIRS = 5, 4, 30
Answer = Callable[[dict[str, Any]], tuple[int, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the files of twenty clips: four takes of each of five prompts, which differ in red."""
    made = Workspace(tmp_path_factory.mktemp("made")).prepare()
    for prompt in range(PROMPTS):
        for take in range(TAKES):
            clip_id, frames = f"{prompt * 100 + take:016x}", np.zeros((2, 16, 16, 3), np.uint8)
            frames[..., 0], frames[..., 1] = 60 + 40 * red(clip_id), 120 + prompt
            save_clip(made, clip_id, Clip(frames=frames, fps=8.0, prompt=f"prompt {prompt}"))
    return made


@pytest.fixture
def campaign(store: Library, made: Workspace) -> Campaign:
    """All 30 pairs of takes of one prompt."""
    shutil.copytree(made.clips, store.workspace.clips, dirs_exist_ok=True)
    ids = [f"{prompt * 100 + take:016x}" for prompt in range(PROMPTS) for take in range(TAKES)]
    shape = {"num_frames": 2, "width": 16, "height": 16, "fps": 8.0, "source": "generated", "model": "mini"}
    for clip_id in ids:
        store.add_clip(ClipRecord(id=clip_id, prompt=f"prompt {int(clip_id, 16) // 100}", **shape))
    return Campaigns(store).create(CampaignSpec(title="red", clip_ids=tuple(ids), repeat_share=0))


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    """The server behind the external reward "red"; it prefers the redder clip."""
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "presets"))
    with judge_server(prefers_red) as server:
        declare(tmp_path, server.url)
        yield server
        close_external()


def red(clip_id: str) -> int:
    """Return the level of red of a clip, 0..3."""
    prompt, take = divmod(int(clip_id, 16), 100)
    return (take + prompt) % TAKES


def is_right(vote: JudgeVote) -> bool:
    """The redder clip won."""
    return vote.score == float(red(vote.pair.clip_a) > red(vote.pair.clip_b))


def declare(tmp_path: Path, url: str, ask: str = "Which is redder?") -> None:
    folder = tmp_path / "presets" / "external_rewards"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "red.toml").write_text(TABLE.format(url=url, ask=ask))


def run_judge(store: Library, campaign: Campaign) -> tuple[list[JobProgress], dict[str, Any]]:
    """Run the job's handler to its end; return its progress and its result."""
    steps, seen = KINDS["judge"].start({"campaign": campaign.id, "judge": "red"}, JobContext(store=store)), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


def label(store: Library, campaign: Campaign, count: int, wrong: int = 0) -> None:
    """Store votes of one person on `count` pairs, who prefers the redder clip but for the first `wrong` pairs."""
    for place in range(count):
        (one, *_) = Campaigns(store).next_pairs(campaign.id, "ann", count=1)
        left_is_redder = red(one.left_clip) > red(one.right_clip)
        Campaigns(store).vote(vote_on(one, "left" if left_is_redder == (place >= wrong) else "right"))


def noisy(body: dict[str, Any]) -> tuple[int, Any]:
    """Prefer the redder video, but err in one of eight answers; the errors follow from the request alone."""
    first, second = (redness(frames) for frames in videos(body))
    errs = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()[0] < 32
    return say("A" if (first > second) != errs else "B")


def content(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()


def test_a_noisy_judge_votes_apart_from_people(store: Library, campaign: Campaign, judge: StubServer, tmp_path: Path):
    campaigns = Campaigns(store)
    label(store, campaign, 20)
    before = campaigns.votes(campaign.id), campaigns.progress(campaign.id), campaigns.revision(campaign.id)
    judge.behaviour = noisy
    progress, result = run_judge(store, campaign)
    assert len(judge.requests) == 2 * PAIRS and (result["pairs"], result["unjudged"]) == (PAIRS, {})
    assert [(one.phase, one.step, one.of) for one in progress] == [("judge", 2 * n, PAIRS) for n in range(15)]
    votes = judge_votes(store, campaign.id)
    ties = [vote for vote in votes if vote.score == 0.5]
    assert 0 < len(ties) < PAIRS / 2 and {vote.model for vote in votes} == {"stub-judge-1"}
    assert sum(map(is_right, votes)) >= PAIRS - len(ties) - 2
    assert (campaigns.votes(campaign.id), campaigns.progress(campaign.id), campaigns.revision(campaign.id)) == before
    (found,) = campaign_judges(campaigns, campaign.id)
    preferred = [vote for vote in common(store, campaign) if vote.score != 0.5]
    assert (found.pairs, found.ties, found.equal.count) == (PAIRS, len(ties), len(preferred))
    assert found.equal.hits == sum(map(is_right, preferred))
    assert found.alpha is not None and 0.2 < found.alpha < 1 and found.first_chosen == pytest.approx(0.5, abs=0.2)
    assert main(["campaigns", "export", campaign.id, str(tmp_path / "votes.csv"), "--layout", "votes"]) == 0
    with (tmp_path / "votes.csv").open() as file:
        assert {row["labeller"] for row in csv.DictReader(file)} == {"ann"}


def common(store: Library, campaign: Campaign) -> list[JudgeVote]:
    people = {vote.vote.pair_id for vote in Campaigns(store).votes(campaign.id)}
    return [vote for vote in judge_votes(store, campaign.id) if vote.pair.id in people]


def test_a_judge_that_always_answers_a_only_ties(store: Library, campaign: Campaign, judge: StubServer):
    label(store, campaign, MIN_COMMON)
    judge.behaviour = lambda body: say("A")
    _, result = run_judge(store, campaign)
    (found,) = result["agreement"]
    assert (found["ties"], found["first_chosen"], found["disagreement"]) == (PAIRS, 1.0, 1.0)
    assert found["equal"] == {"hits": 0, "count": 0}
    preset = load_train_preset("mini_dpo", {"campaign": campaign.id, "pairs": None, "judge": "red"})
    with pytest.raises(ConfigError, match=r"both prefer a clip on 0 pairs, and 20 are needed"):
        freeze_pairs(store, preset)


def test_a_server_that_goes_down_stops_the_job_and_the_rest_is_asked_later(
    store: Library, campaign: Campaign, judge: StubServer
):
    def down_later(body: dict[str, Any]) -> tuple[int, Any]:
        return prefers_red(body) if len(judge.requests) <= 20 else (503, {"error": "overloaded"})

    judge.behaviour = down_later
    with pytest.raises(RewardError, match=r"status 503.* voted on 10 of 30 pairs: start the job again"):
        run_judge(store, campaign)
    asked = [content(body) for body in judge.requests[:20]]
    assert len(judge_votes(store, campaign.id)) == 10 and len(judge.requests) == 20 + 2 * 8
    judge.requests.clear()
    judge.behaviour = prefers_red
    assert run_judge(store, campaign)[1]["pairs"] == 20
    assert not {content(body) for body in judge.requests} & set(asked)
    assert len(judge_votes(store, campaign.id)) == PAIRS and all(map(is_right, judge_votes(store, campaign.id)))


def test_one_answer_that_cannot_be_read_costs_one_pair(store: Library, campaign: Campaign, judge: StubServer):
    strange = {content(body) for body in ask_once(store, campaign, judge)}
    judge.behaviour = lambda body: say("I cannot say") if content(body) in strange else prefers_red(body)
    _, result = run_judge(store, campaign)
    assert result["pairs"] == PAIRS - 1
    (why,) = result["unjudged"].values()
    assert why == "The judge of 'red' gave no answer that is A, B or tie."
    judge.behaviour = prefers_red
    assert run_judge(store, campaign)[1]["pairs"] == 1 and run_judge(store, campaign)[1]["pairs"] == 0


def ask_once(store: Library, campaign: Campaign, judge: StubServer) -> list[dict[str, Any]]:
    """Return the two requests about one pair, without storing an answer."""
    judge.behaviour = lambda body: (400, {"error": "no"})
    with pytest.raises(RewardError, match="status 400"):
        run_judge(store, campaign)
    first, *others = judge.requests
    swapped = [sorted(map(redness, videos(body))) for body in judge.requests]
    return [first, *(body for body, values in zip(others, swapped[1:], strict=True) if values == swapped[0])][:2]


@pytest.mark.timeout(120)
def test_a_killed_job_goes_on_and_judges_no_pair_twice(
    store: Library, campaign: Campaign, judge: StubServer, python: str
):
    process: subprocess.Popen[bytes] | None = None

    def kill_late(body: dict[str, Any]) -> tuple[int, Any]:
        if len(judge.requests) == 23:
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        return prefers_red(body)

    judge.behaviour = kill_late
    process = subprocess.Popen([python, "-m", "engine.cli", "campaigns", "judge", campaign.id, "red"])
    assert process.wait(100) == -signal.SIGKILL
    stored = judge_votes(store, campaign.id)
    assert 8 <= len(stored) <= 11
    judge.behaviour = prefers_red
    judge.requests.clear()
    assert run_judge(store, campaign)[1]["pairs"] == PAIRS - len(stored)
    assert set(Counter(map(content, judge.requests)).values()) == {1}
    assert len(judge.requests) == 2 * (PAIRS - len(stored))
    votes = judge_votes(store, campaign.id)
    assert len({vote.pair.id for vote in votes}) == len(votes) == PAIRS and all(map(is_right, votes))


def test_a_queued_job_is_cancelled_and_the_next_one_judges_the_rest(
    store: Library, campaign: Campaign, judge: StubServer
):
    queue = JobQueue(store)

    def serve() -> str:
        """Let a worker do what is queued; return the job's state."""
        Worker(queue, IdleTimeouts(exit_s=0)).run(try_lock(store.workspace.worker_lock))
        return queue.list()[0].status

    def cancel_late(body: dict[str, Any]) -> tuple[int, Any]:
        if len(judge.requests) == 9:
            queue.cancel(queue.list()[0].id)
        return prefers_red(body)

    judge.behaviour = cancel_late
    spec = JobSpec(kind="judge", config={"campaign": campaign.id, "judge": "red"})
    queue.submit(spec)
    assert serve() == "cancelled" and 4 <= len(judge_votes(store, campaign.id)) < PAIRS
    judge.behaviour = prefers_red
    queue.submit(spec)
    assert serve() == "done" and len(judge_votes(store, campaign.id)) == PAIRS


def test_its_votes_train_only_above_the_agreement_and_where_people_have_none(
    store: Library, campaign: Campaign, judge: StubServer, tmp_path: Path
):
    changes = {"campaign": campaign.id, "pairs": None, "judge": "red"}
    preset = load_train_preset("mini_dpo", changes)
    with pytest.raises(ConfigError, match="'red' has no vote in this campaign"):
        freeze_pairs(store, preset)
    run_judge(store, campaign)
    label(store, campaign, 5)
    with pytest.raises(ConfigError, match=r"both prefer a clip on 5 pairs.* 20 are needed.* Label more pairs"):
        freeze_pairs(store, preset)
    opened = freeze_pairs(store, load_train_preset("mini_dpo", {**changes, "judge_agreement": 0.0}))
    assert Counter(pair.source for pair in opened.pairs) == {"human": 5, "judge": PAIRS - 5}
    label(store, campaign, 15, wrong=3)
    run = create_run(store, preset)
    rows = [json.loads(line) for line in run.pairs_file.read_text().splitlines()]
    assert Counter(row["source"] for row in rows) == {"human": 20, "judge": 10}
    assert sum(red(row["chosen_clip"]) < red(row["rejected_clip"]) for row in rows) == 3  # people's verdict stays
    lineage = read_lineage(run)
    assert lineage.judge.equal.hits == 17 and lineage.judge.models == ("stub-judge-1",) and lineage.votes == 20
    people_alone = load_train_preset("mini_dpo", {"campaign": campaign.id, "pairs": None})
    assert freeze_pairs(store, people_alone).pairs == tuple(preference_pairs(Campaigns(store).votes(campaign.id)))
    strict = load_train_preset("mini_dpo", {**changes, "judge_agreement": 0.9})
    with pytest.raises(ConfigError, match="85% of 20 pairs, and 90% are needed"):
        freeze_pairs(store, strict)
    export = ["campaigns", "export", campaign.id, str(tmp_path / "out"), "--layout", "trl"]
    assert main([*export, "--judge", "red", "--judge-agreement", "0.9"]) == 2
    assert main([*export, "--judge", "red"]) == 0
    assert (tmp_path / "out" / "pairs.jsonl").read_text().count('"source": "judge"') == 10


def test_another_question_needs_other_votes(
    store: Library, campaign: Campaign, judge: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run_judge(store, campaign)
    declare(tmp_path, judge.url, ask="Which is brighter?")
    with pytest.raises(ConfigError, match="'red' voted on 30 pairs of this campaign with another question"):
        run_judge(store, campaign)
    judge.behaviour = lambda body: (503, {"error": "overloaded"})
    assert main(["campaigns", "judge", campaign.id, "red", "--again"]) == 2
    assert len(judge_votes(store, campaign.id)) == PAIRS, "votes are lost before there are others"
    judge.requests.clear()
    judge.behaviour = prefers_red
    assert main(["campaigns", "judge", campaign.id, "red", "--again"]) == 0
    assert "30 pairs were judged" in capsys.readouterr().out and len(judge.requests) == 2 * PAIRS
    assert main(["campaigns", "show", campaign.id]) == 0
    assert "AI labeller" in capsys.readouterr().out


def test_what_cannot_judge_is_refused_before_work_starts(
    campaign: Campaign, judge: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "presets" / "external_rewards" / "red.toml"
    file.write_text(file.read_text().replace("pairwise", "yes_no"))
    for key, sentence in (("red", "'red' compares no pairs"), ("blue", "no external reward 'blue'")):
        assert main(["campaigns", "judge", campaign.id, key]) == 2
        assert sentence in capsys.readouterr().err
    assert judge.requests == []
