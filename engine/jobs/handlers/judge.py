"""The "judge" job: an AI labeller votes on the pairs of a campaign.

Votes are stored batch by batch. A job that was stopped or killed is submitted again and asks about the other pairs.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from engine.errors import ConfigError, DailiesError, RewardError
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress, JudgeConfig
from engine.labelling.campaign_spec import Pair
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import JudgeVote, judge_table, judge_votes, store_judge_votes, unjudged_pairs
from engine.labelling.stats.judge_agreement import campaign_judges
from engine.storage.clip_files import load_clip
from engine.storage.library import Library
from rewards.clip import Clip
from rewards.external.clients import ONLY, CallFailed
from rewards.external.vlm.client import VlmClient

FAILURES_IN_A_ROW = 8
"""After so many failed pairs the server is considered down, and the job stops."""


def judge_campaign(config: JudgeConfig, context: JobContext) -> JobSteps:
    """Ask a judge about each pair without its vote, in both orders.

    Result: `campaign`, `judge`, `pairs` judged now, `unjudged` (an error message by pair id) and `agreement` with
    people, see `JudgeAgreement`. Raises RewardError when the server stays away or no pair could be judged, ConfigError
    when the judge was asked another question before.
    """
    store, table = context.store, judge_table(config.judge)
    campaigns = Campaigns(store)
    campaign = campaigns.get(config.campaign)
    if config.replace_before is None:
        _check_question(judge_votes(store, campaign.id, config.judge), table.asked)
    pairs, in_a_row = unjudged_pairs(store, campaign.id, config.judge, config.replace_before), 0
    failed: dict[str, str] = {}
    # A client of our own: the one that scoring shares is closed when the reward's declaration changes.
    with closing(VlmClient(config.judge, table, (ONLY,))) as client:
        for start in range(0, len(pairs), table.concurrency):
            yield JobProgress(phase="judge", step=start, of=len(pairs))
            batch = pairs[start : start + table.concurrency]
            votes, problems = _judge(store, client, batch, {"judge": config.judge, "asked": table.asked})
            store_judge_votes(store, votes, config.replace_before)
            failed |= problems
            in_a_row = in_a_row + len(batch) if len(problems) == len(batch) else 0
            if in_a_row >= FAILURES_IN_A_ROW or len(failed) == len(pairs):
                raise RewardError(
                    f"{problems[batch[-1].id]} The judge has voted on {start + len(batch) - len(failed)} of "
                    f"{len(pairs)} pairs: start the job again for the others."
                )
    result = {"campaign": campaign.id, "judge": config.judge, "pairs": len(pairs) - len(failed), "unjudged": failed}
    return {**result, "agreement": [asdict(found) for found in campaign_judges(campaigns, campaign.id, config.judge)]}


def _check_question(votes: Sequence[JudgeVote], asked: str) -> None:
    others = [vote for vote in votes if vote.asked != asked]
    if others:
        raise ConfigError(
            f"The judge '{others[0].judge}' voted on {len(others)} pairs of this campaign with another question, model "
            "or number of frames: replace those votes by `dailies campaigns judge CAMPAIGN JUDGE --again`, or declare "
            "the new question under another key."
        )


def _judge(
    store: Library, client: VlmClient, pairs: Sequence[Pair], names: dict[str, str]
) -> tuple[list[JudgeVote], dict[str, str]]:
    """Return the votes on pairs, and the error message of each pair without one."""
    problems: dict[str, str] = {}
    clips: list[tuple[Pair, tuple[Clip, Clip]]] = []
    for pair in pairs:
        try:
            clips.append((pair, (load_clip(store.workspace, pair.clip_a), load_clip(store.workspace, pair.clip_b))))
        except DailiesError as error:
            problems[pair.id] = str(error)
    votes = []
    for (pair, _), answers in zip(clips, client.judge_pairs([both for _, both in clips]), strict=True):
        if isinstance(answers, CallFailed):
            problems[pair.id] = str(answers)
        else:
            votes.append(JudgeVote(pair=pair, answers=answers, model=client.identity, **names))
    return votes, problems
