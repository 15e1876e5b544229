"""Campaigns: assignment of pairs to labellers, and votes that are stored exactly once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from engine.clock import now
from engine.errors import ConfigError, StoreError
from engine.labelling.assignment import ASSIGNMENT_TIMEOUT, REPEAT_GAP
from engine.labelling.campaign_spec import CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.labelling.progress import votes_per_hour
from engine.labelling.votes import NOTE_LIMIT, Vote
from engine.storage.clip_files import remove_files
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS

from .voters import vote_all, vote_on


def test_each_pair_goes_to_as_many_people_as_wanted_and_never_twice_to_one(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(6, 4), labellers_per_pair=2, repeat_share=0))
    shown = [one for name in ("ann", "bob", "cy") for one in vote_all(campaigns, campaign, name, limit=30)]
    assert len(campaigns.pairs(campaign.id)) == 36
    assert max(Counter(one.pair_id for one in shown).values()) == 2
    assert max(Counter((one.pair_id, one.labeller) for one in shown).values()) == 1
    rest = [one for name in ("ann", "bob", "cy") for one in vote_all(campaigns, campaign, name)]
    assert Counter(one.pair_id for one in shown + rest) == {pair.id: 2 for pair in campaigns.pairs(campaign.id)}
    assert campaigns.progress(campaign.id).remaining == 0


def test_a_reload_shows_the_same_pairs_with_the_same_sides(campaigns, store, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(4, 3)))
    first = campaigns.next_pairs(campaign.id, "ann")
    assert len(first) == 4 and Campaigns(store).next_pairs(campaign.id, "ann") == first
    campaigns.vote(vote_on(first[0]))
    assert campaigns.next_pairs(campaign.id, "ann")[:3] == first[1:]


def test_sides_are_random(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(16, 4), repeat_share=0))
    shown = vote_all(campaigns, campaign, "ann")
    pairs = {pair.id: pair for pair in campaigns.pairs(campaign.id)}
    lefts = sum(one.left_clip == pairs[one.pair_id].clip_a for one in shown)
    assert len(shown) == 96 and 30 < lefts < 66


def test_repeats_are_swapped_rare_and_not_soon(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(16, 4)))
    shown = vote_all(campaigns, campaign, "ann")
    repeats = [one for one in shown if one.is_repeat]
    assert 4 <= len(repeats) <= 6  # 5 % of 96 and something
    first = {one.pair_id: one for one in shown if not one.is_repeat}
    for again in repeats:
        assert (again.left_clip, again.right_clip) == (first[again.pair_id].right_clip, first[again.pair_id].left_clip)
        assert again.place - first[again.pair_id].place >= REPEAT_GAP
    assert campaigns.progress(campaign.id).votes == 96  # a repeat is no second opinion
    assert sum(one.is_repeat for one in vote_all(campaigns, campaign, "bob")) == 0  # and bob had nothing to repeat


def test_a_vote_sent_many_times_is_stored_once(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(2, 2)))
    (one, *_) = campaigns.next_pairs(campaign.id, "ann")
    vote = vote_on(one, "right", note="<b>Robert'); DROP TABLE votes;--</b> ../../etc")
    with ThreadPoolExecutor(8) as threads:
        stored = list(threads.map(campaigns.vote, [vote] * 16))
    assert len({found.number for found in stored}) == 1
    assert [found.vote for found in campaigns.votes(campaign.id)] == [vote]
    assert stored[0].winner == one.right_clip
    changed = replace(vote, choice="left")  # the same send, garbled: the first one stands
    assert campaigns.vote(changed).vote.choice == "right"


def test_two_windows_of_one_labeller_cannot_both_vote(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(2, 2)))
    (one, *_) = campaigns.next_pairs(campaign.id, "ann")
    campaigns.vote(vote_on(one, "left"))
    with pytest.raises(StoreError, match="has voted on the pair .* already, perhaps in another window"):
        campaigns.vote(vote_on(one, "right"))
    assert [found.vote.choice for found in campaigns.votes(campaign.id)] == ["left"]


def test_a_pair_that_was_not_given_cannot_be_voted_on(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(2, 2), axes=("motion",)))
    (one, *_) = campaigns.next_pairs(campaign.id, "ann")
    with pytest.raises(StoreError, match="was not assigned to 'bob'"):
        campaigns.vote(vote_on(replace(one, labeller="bob")))
    with pytest.raises(StoreError, match="was not assigned to 'ann'"):
        campaigns.vote(vote_on(replace(one, left_clip=one.right_clip)))
    with pytest.raises(ConfigError, match="no axis 'taste' to judge: it has motion"):
        campaigns.vote(vote_on(one, axes={"taste": "left"}))
    assert campaigns.vote(vote_on(one, axes={"motion": "tie"})).vote.axes == {"motion": "tie"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"choice": "up"}, "choice = 'up' is invalid"),
        ({"pair_id": "../../etc/passwd"}, "pair_id = '../../etc/passwd' is invalid"),
        ({"client_uuid": "x"}, "client_uuid"),
        ({"note": "n" * (NOTE_LIMIT + 1)}, "note"),
        ({"winner": "me"}, "winner"),
        ({"axes": {"motion": "sideways"}}, "axes.motion"),
    ],
)
def test_a_bad_vote_is_one_sentence(fields, sentence):
    good = {"pair_id": "0" * 16, "choice": "tie", "shown_left": "1" * 16, "client_uuid": "12345678"}
    with pytest.raises(ConfigError, match=sentence):
        Vote.read({**good, **fields}, "ann")


@pytest.mark.parametrize(("sent", "kept"), [(900, 900), (12.6, 13), (-5000, None), (10**12, None), (None, None)])
def test_a_clock_that_jumps_costs_the_time_not_the_vote(sent, kept):
    fields = {"pair_id": "0" * 16, "choice": "tie", "shown_left": "1" * 16, "client_uuid": "12345678", "ms": sent}
    assert Vote.read(fields, "ann").ms == kept


def test_undo_gives_the_pair_back_and_keeps_history(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(4, 3), repeat_share=0))
    shown = vote_all(campaigns, campaign, "ann", limit=3)
    for one in (shown[2], shown[1]):
        undone = campaigns.undo(campaign.id, "ann")
        assert (undone.vote.pair_id, undone.left_clip, undone.vote.choice) == (one.pair_id, one.left_clip, "left")
    assert campaigns.next_pairs(campaign.id, "ann")[0] == shown[1]
    campaigns.vote(vote_on(shown[1], "right"))
    assert [one.vote.choice for one in campaigns.votes(campaign.id)] == ["left", "right"]
    history = campaigns.votes(campaign.id, history=True)
    assert [one.ended_as for one in history] == [None, "undone", "undone", None]
    with pytest.raises(StoreError, match="no vote in this campaign to undo"):
        campaigns.undo(campaign.id, "bob")


def test_a_vote_undone_does_not_come_back_when_it_is_sent_again(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(2, 2)))
    vote = vote_on(campaigns.next_pairs(campaign.id, "ann")[0])
    campaigns.vote(vote)
    campaigns.undo(campaign.id, "ann")
    assert campaigns.vote(vote).ended_as == "undone"
    assert campaigns.votes(campaign.id) == []


def test_an_edit_replaces_a_vote_and_keeps_history(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(2, 2)))
    one, other = campaigns.next_pairs(campaign.id, "ann")[:2]
    campaigns.vote(vote_on(one, "left"))
    edited = vote_on(one, "both_bad", note="looked again")
    assert campaigns.edit(edited) == campaigns.edit(edited)
    assert [found.vote for found in campaigns.votes(campaign.id)] == [edited]
    assert [found.ended_as for found in campaigns.votes(campaign.id, history=True)] == ["edited", None]
    with pytest.raises(StoreError, match="no vote on the pair .* to edit"):
        campaigns.edit(vote_on(other))


def test_a_skipped_pair_goes_to_somebody_else(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(1, 2)))
    (one,) = campaigns.next_pairs(campaign.id, "ann")
    assert campaigns.next_pairs(campaign.id, "bob") == []
    campaigns.vote(vote_on(one, "skip"))
    assert campaigns.next_pairs(campaign.id, "ann") == []
    assert [found.pair_id for found in campaigns.next_pairs(campaign.id, "bob")] == [one.pair_id]
    assert campaigns.progress(campaign.id).votes == 0


def test_a_skip_edited_into_a_vote_takes_a_slot_again(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(1, 2), repeat_share=0))
    (one,) = campaigns.next_pairs(campaign.id, "ann")
    campaigns.vote(vote_on(one, "skip"))
    campaigns.edit(vote_on(one, "left"))
    assert campaigns.next_pairs(campaign.id, "bob") == []
    assert campaigns.labeller_status(campaign.id, "bob").remaining == 0
    campaigns.edit(vote_on(one, "skip"))
    (other,) = campaigns.next_pairs(campaign.id, "bob")
    campaigns.vote(vote_on(other))
    campaigns.edit(vote_on(one, "right"))  # no slot is left, and the vote is kept
    assert [found.vote.labeller for found in campaigns.votes(campaign.id)] == ["bob", "ann"]
    with pytest.raises(StoreError, match="There is no pair"):
        campaigns.edit(replace(vote_on(one), pair_id="0" * 16))


def test_a_pair_that_somebody_left_lying_goes_to_somebody_else_and_a_late_vote_counts(campaigns, store, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(1, 2)))
    (one,) = campaigns.next_pairs(campaign.id, "ann")
    assert campaigns.next_pairs(campaign.id, "bob") == []
    with store.database.writing() as connection:
        connection.execute(update(ASSIGNMENTS).values(created_at=now() - ASSIGNMENT_TIMEOUT - timedelta(seconds=1)))
    (other,) = campaigns.next_pairs(campaign.id, "bob")
    campaigns.vote(vote_on(other))
    assert campaigns.vote(vote_on(one)).vote.labeller == "ann"
    assert len(campaigns.votes(campaign.id)) == 2


def test_a_pair_whose_file_is_gone_is_skipped_and_reported_until_it_is_back(campaigns, store, library, put_files):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(3, 2)))
    shown = campaigns.next_pairs(campaign.id, "ann", count=2)
    remove_files(store.workspace, shown[0].left_clip)
    assert shown[0] not in campaigns.next_pairs(campaign.id, "ann", count=2)
    assert [pair.id for pair in campaigns.pairs_without_files(campaign.id)] == [shown[0].pair_id]
    assert campaigns.progress(campaign.id).missing_files == 1
    assert campaigns.vote(vote_on(shown[0])).winner == shown[0].left_clip  # it was on the screen already: not lost
    assert shown[0].pair_id not in [one.pair_id for one in campaigns.next_pairs(campaign.id, "bob")]
    put_files(shown[0].left_clip)
    campaigns.undo(campaign.id, "ann")
    assert campaigns.next_pairs(campaign.id, "ann")[0] == shown[0]
    assert campaigns.pairs_without_files(campaign.id) == []


def test_pairs_of_deleted_clips_wait_until_they_are_restored(campaigns, store, library):
    clips = library(1, 2)
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=clips))
    store.delete(clips[:1])
    assert campaigns.next_pairs(campaign.id, "ann") == []
    store.restore(clips[:1])
    assert len(campaigns.next_pairs(campaign.id, "ann")) == 1


def test_a_closed_campaign_asks_nobody_but_takes_votes_under_way(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(4, 2)))
    (one, *_) = campaigns.next_pairs(campaign.id, "ann", count=1)
    assert not campaigns.close(campaign.id).is_open
    assert campaigns.next_pairs(campaign.id, "bob") == []
    campaigns.vote(vote_on(one))
    assert campaigns.reopen(campaign.id).is_open and campaigns.next_pairs(campaign.id, "bob")


def test_the_target_ends_a_campaign(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(6, 3), target_votes=7, repeat_share=0))
    shown = [one for name in ("ann", "bob") for one in vote_all(campaigns, campaign, name)]
    assert len(shown) == 7
    assert campaigns.progress(campaign.id).target == 7 and campaigns.progress(campaign.id).remaining == 0


@pytest.mark.parametrize("strategy", ["informative", "disagreement"])
def test_every_strategy_asks_all_in_the_end(campaigns, library, strategy):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(4, 4), strategy=strategy, repeat_share=0))
    assert len({one.pair_id for one in vote_all(campaigns, campaign, "ann")}) == 24


@pytest.mark.parametrize(("former", "current"), [("uncertain", "informative"), ("dissent", "disagreement")])
def test_a_campaign_stored_with_a_former_strategy_opens(former, current):
    assert CampaignSpec(title="t", clip_ids=("a", "b"), strategy=former).strategy == current


def test_disagreement_asks_first_where_rewards_contradict_the_votes(campaigns, store, library):
    """m0 wins every vote, and the rewards agree, except on the clips of the last prompts."""
    clips = library(30, 2)
    for number, clip in enumerate(clips):
        prompt, model = divmod(number, 2)
        value = float(model) if prompt >= 25 else 1.0 - model
        results = {name: {"value": value} for name in ("t_lpips", "seam")}
        store.save_report(clip, "mini", {"total": value, "results": results})
    spec = CampaignSpec(title="t", clip_ids=clips, strategy="disagreement", repeat_share=0)
    campaign = campaigns.create(spec)
    winners = set(clips[::2])
    shown = vote_all(campaigns, campaign, "ann", lambda one: "left" if one.left_clip in winners else "right")
    contradicted = {f"prompt {number}" for number in range(25, 30)}
    assert contradicted <= {one.prompt for one in shown[:20]}  # by chance: 9 % of all orders


def test_progress_tells_of_each_labeller(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(5, 3), repeat_share=0))
    vote_all(campaigns, campaign, "ann", lambda one: "skip" if one.place == 1 else "tie", limit=6)
    found = campaigns.progress(campaign.id)
    (ann,) = found.labellers
    assert (found.pairs, found.assignable, found.votes, found.target, found.remaining) == (15, 15, 5, 15, 10)
    assert (ann.done, ann.skipped, ann.remaining, ann.median_ms) == (6, 1, 9, 900)


def test_what_a_labeller_has_to_do_is_what_will_be_asked(campaigns, store, library, put_files):
    clips = library(4, 3)
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=clips, target_votes=7, repeat_share=0))

    def to_do(name: str) -> int:
        return campaigns.labeller_status(campaign.id, name).remaining

    assert (to_do("ann"), to_do("bob")) == (7, 7)
    ahead = campaigns.next_pairs(campaign.id, "ann")
    assert (to_do("ann"), to_do("bob")) == (7, 3)
    campaigns.vote(vote_on(ahead[0]))
    status, ann = campaigns.labeller_status(campaign.id, "ann"), campaigns.progress(campaign.id).labellers[0]
    assert (status.done, status.remaining) == (ann.done, ann.remaining)
    vote_all(campaigns, campaign, "bob")
    assert (to_do("ann"), to_do("bob"), to_do("cy")) == (3, 0, 0)
    remove_files(store.workspace, ahead[1].left_clip)
    left = campaigns.next_pairs(campaign.id, "ann")
    assert ahead[1] not in left and to_do("ann") == len(left)
    campaigns.close(campaign.id)
    assert to_do("ann") == 0


def test_the_pace_leaves_pauses_and_jumps_of_the_clock_out():
    start = now()
    seconds = [0, 10, 20, 5000, 5010, 1000, 1010]  # a pause, then the clock is set back
    assert votes_per_hour([start + timedelta(seconds=at) for at in seconds]) == pytest.approx(360)
    assert votes_per_hour([start]) is None


def test_the_missing_clips_are_those_not_made_yet(campaigns, store, put_clip):
    spec = CampaignSpec(title="t", prompts=("a red ball", "a blue ball"), entrants=(Entrant(),), takes=2)
    campaign = campaigns.create(spec)
    missing = campaigns.missing_requests(campaign.id)
    assert len(missing) == 4 and len(campaigns.pairs(campaign.id)) == 2
    assert {request.prompt for request in missing} == set(spec.prompts)
    for request in missing[:2]:
        put_clip(request)
    assert campaigns.missing_requests(campaign.id) == missing[2:]
    assert [one.prompt for one in campaigns.next_pairs(campaign.id, "ann")] == ["a blue ball"]


def test_entrants_meet_with_the_same_prompt_and_seed(campaigns):
    entrants = (Entrant(), Entrant(model="wan21_1_3b"), Entrant(model="ltx"))
    spec = CampaignSpec(title="t", prompts=("a", "b"), entrants=entrants, takes=2, settings={"num_frames": 17})
    campaign = campaigns.create(spec)
    requests = {request.id: request for request in campaigns.missing_requests(campaign.id)}
    pairs = campaigns.pairs(campaign.id)
    assert len(pairs) == 2 * 2 * 3
    for pair in pairs:
        one, other = requests[pair.clip_a], requests[pair.clip_b]
        assert (one.prompt, one.seed, one.num_frames) == (other.prompt, other.seed, 17) and one.model != other.model


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "either prompts and entrants, or clip_ids"),
        ({"prompts": ("a",)}, "belong together"),
        ({"prompts": ("a",), "entrants": (Entrant(),)}, "takes = 2 or more"),
        ({"prompts": ("a",), "entrants": (Entrant(),), "clip_ids": ("0" * 16,)}, "either prompts and entrants"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        CampaignSpec(title="t", **fields)


def test_a_campaign_that_cannot_work_is_refused_and_not_stored(campaigns, library):
    with pytest.raises(ConfigError, match="no clip .* in the library"):
        campaigns.create(CampaignSpec(title="t", clip_ids=("0" * 16, "1" * 16)))
    with pytest.raises(ConfigError, match="would have 0 pairs"):
        campaigns.create(CampaignSpec(title="t", clip_ids=library(1, 1)))
    with pytest.raises(ConfigError, match="Unknown adapter 'gone'"):
        entrants = (Entrant(), Entrant(adapter="gone"))
        campaigns.create(CampaignSpec(title="t", prompts=("a",), entrants=entrants))
    with pytest.raises(StoreError, match="no campaign 'nowhere'"):
        campaigns.next_pairs("nowhere", "ann")
    with pytest.raises(ConfigError, match="name has 1 to 200 characters"):
        campaigns.next_pairs("nowhere", "")
    assert campaigns.list() == []


def test_a_campaign_is_changed_and_a_deleted_one_asks_nobody(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(1, 3)))
    changed = campaigns.change(campaign.id, title="new", instructions="Look at the motion.", target_votes=2)
    assert (changed.title, changed.spec.instructions, changed.spec.target_votes) == ("new", "Look at the motion.", 2)
    with pytest.raises(ConfigError, match="title"):
        campaigns.change(campaign.id, title="")
    campaigns.change(campaign.id, deleted=True)
    assert campaigns.list() == [] and campaigns.next_pairs(campaign.id, "ann") == []
    assert [one.id for one in campaigns.list(deleted=True)] == [campaign.id]
    campaigns.change(campaign.id, deleted=False)
    assert len(campaigns.next_pairs(campaign.id, "ann")) == 2


def test_votes_go_on_while_the_adapters_of_entrants_are_copied(campaigns, library, monkeypatch):
    (clip_id, *_) = library(1, 2)
    starred = []

    def copied(workspace, model, names):
        other = Library(workspace)
        starred.append(other.star([clip_id]))
        other.close()

    monkeypatch.setattr("engine.labelling.campaigns.publish_named", copied)
    campaigns.create(CampaignSpec(title="t", prompts=("a red ball",), entrants=(Entrant(),), takes=2))
    assert starred == [1]
