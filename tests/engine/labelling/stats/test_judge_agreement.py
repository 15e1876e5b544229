"""The condition to train on a judge's votes: it is measured on preferences, which is what training uses."""

from datetime import UTC, datetime

import pytest

from engine.errors import ConfigError
from engine.labelling.campaign_spec import Pair
from engine.labelling.judge_votes import JudgeVote
from engine.labelling.stats.judge_agreement import checked_preferences, judge_agreements
from engine.labelling.votes import StoredVote, Vote
from rewards.external.vlm.verdicts import Answers

FIRST, SECOND, ONLY_A = ("A", "B"), ("B", "A"), ("A", "A")
UNSEEN = 5
"""Pairs that people have not compared."""


def pair(number: int) -> Pair:
    clips = {"clip_a": f"{2 * number:016x}", "clip_b": f"{2 * number + 1:016x}"}
    return Pair(id=f"{number:016x}", prompt="p", **clips, entrant_a="x", entrant_b="y")


def person(number: int, choice: str) -> StoredVote:
    """A vote that saw clip a on the left."""
    seen = pair(number)
    vote = Vote(pair_id=seen.id, labeller="ann", choice=choice, shown_left=seen.clip_a, client_uuid="x" * 8)
    ids = {"number": number, "campaign_id": "c", "assignment_id": number, "is_repeat": False}
    clips = {"left_clip": seen.clip_a, "right_clip": seen.clip_b, "left_entrant": "x", "right_entrant": "y"}
    return StoredVote(vote=vote, prompt="p", created_at=datetime.now(UTC), **ids, **clips)


def judge(number: int, answers: Answers, **changes: str) -> JudgeVote:
    return JudgeVote(pair=pair(number), answers=answers, **{"judge": "red", "model": "m", "asked": "0", **changes})


def votes(*kinds: tuple[int, str, Answers]) -> tuple[list[StoredVote], list[JudgeVote]]:
    """Return votes of a person and a judge: `count` pairs of each choice and answers, then pairs without people."""
    common = [(choice, answers) for count, choice, answers in kinds for _ in range(count)]
    people = [person(number, choice) for number, (choice, _) in enumerate(common)]
    judged = [judge(number, answers) for number, (_, answers) in enumerate(common)]
    return people, judged + [judge(len(common) + number, FIRST) for number in range(UNSEEN)]


def test_ties_do_not_make_up_for_wrong_preferences() -> None:
    people, judged = votes((30, "both_bad", ONLY_A), (20, "left", SECOND))
    (found,) = judge_agreements(people, judged)
    assert (found.equal.hits, found.equal.count) == (0, 20)
    with pytest.raises(ConfigError, match=r"prefers the clip that people prefer on 0% of 20 pairs, and 70% are needed"):
        checked_preferences("red", people, judged, 0.7)


def test_pairs_without_a_preference_of_both_are_no_evidence() -> None:
    people, judged = votes((30, "tie", FIRST), (30, "left", ONLY_A), (19, "left", FIRST))
    with pytest.raises(ConfigError, match="both prefer a clip on 19 pairs, and 20 are needed"):
        checked_preferences("red", people, judged, 0.7)
    assert len(checked_preferences("red", people, judged, 0.0)) == UNSEEN


@pytest.mark.parametrize(("right", "passes"), [(14, False), (15, True), (20, True)])
def test_a_share_that_chance_may_explain_is_refused(right: int, passes: bool) -> None:
    people, judged = votes((right, "left", FIRST), (20 - right, "left", SECOND))
    if passes:
        assert len(checked_preferences("red", people, judged, 0.7)) == UNSEEN
        return
    with pytest.raises(ConfigError, match="on 70% of 20 pairs, which may be chance"):
        checked_preferences("red", people, judged, 0.7)


@pytest.mark.parametrize("change", [{"asked": "1"}, {"model": "n"}])
def test_votes_of_two_questions_or_models_have_no_common_agreement(change: dict[str, str]) -> None:
    people, judged = votes((20, "left", FIRST))
    judged[-1] = judge(20 + UNSEEN - 1, FIRST, **change)
    with pytest.raises(ConfigError, match=r"several questions, or come from several models.*--again"):
        checked_preferences("red", people, judged, 0.7)
    assert len(checked_preferences("red", people, judged, 0.0)) == UNSEEN
