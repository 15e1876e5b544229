"""Exported and re-imported votes give the same ranking, tallies, agreement and training pairs."""

import uuid
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import StoreError
from engine.files.csv_cells import guarded, unguarded
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.preference_pairs import preference_pairs, tally_pairs
from engine.labelling.stats.agreement import agreement
from engine.labelling.stats.ranking import rank, vote_table
from engine.labelling.vote_csv import export_votes, import_votes
from engine.labelling.votes import Choice, StoredVote, Vote
from engine.storage.clip_files import FILES
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace

PEOPLE = ("ann", "=HYPERLINK(1)", "+bob")
PROMPTS, MODELS = 4, 3
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["=1+1", "'=1", "''@x", '"quoted", twice\nand a line', "\ttab", "＝1", "-3", "'plain"]
)
CHOSEN = st.sampled_from(get_args(Choice))
STEPS = st.lists(
    st.tuples(st.sampled_from(["vote", "vote", "vote", "edit", "undo"]), st.integers(0, 2), CHOSEN, TEXTS, CHOSEN),
    min_size=1,
    max_size=45,
)


def filled(store: Library) -> tuple[str, ...]:
    """A library whose files are only names."""
    ids = []
    for number in range(PROMPTS * MODELS):
        ids.append(f"{number + 1:016x}")
        prompt, model = f"prompt {number // MODELS}", f"m{number % MODELS}"
        shape = {"num_frames": 9, "width": 64, "height": 64, "fps": 8.0}
        store.add_clip(ClipRecord(id=ids[-1], prompt=prompt, source="generated", model=model, **shape))
        folder = store.workspace.clip_folder(ids[-1])
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_text("a clip")
    return tuple(ids)


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two, with the same library."""
    stores = [Library(Workspace(tmp_path_factory.mktemp(name)).prepare()) for name in ("here", "elsewhere")]
    ids, _ = (filled(store) for store in stores)
    yield (*map(Campaigns, stores), ids)
    for store in stores:
        store.close()


def live(campaigns: Campaigns, campaign_id: str, steps: Any) -> None:
    """A history: people vote on what they are given, change earlier votes, and withdraw them."""
    for number, (verb, person, choice, note, axis) in enumerate(steps):
        who = PEOPLE[person]
        named = {"client_uuid": str(uuid.uuid4()), "choice": choice, "note": note, "axes": {"motion": axis}}
        own = campaigns.votes(campaign_id, labeller=who)
        if verb == "vote":
            for one in campaigns.next_pairs(campaign_id, who, 1):
                shown = {"pair_id": one.pair_id, "shown_left": one.left_clip, "ms": number}
                campaigns.vote(Vote.read({**named, **shown}, who))
        elif own and verb == "edit":
            old = own[number % len(own)].vote
            shown = {"pair_id": old.pair_id, "shown_left": old.shown_left, "ms": None}
            campaigns.edit(Vote.read({**named, **shown}, who))
        elif own:
            campaigns.undo(campaign_id, who)


def said(votes: list[StoredVote]) -> Any:
    """All that follows from votes, without the ids that differ between campaigns."""
    rows = [
        (one.vote.labeller, one.vote.choice, one.vote.note, one.vote.ms, one.is_repeat, dict(one.vote.axes))
        + (one.left_clip, one.right_clip, one.left_entrant, one.created_at)
        for one in votes
    ]
    found = [(one.prompt, one.clip_a, one.clip_b, one.votes, one.score, one.bad) for one in tally_pairs(votes)]
    pairs = [(one.chosen, one.rejected, one.margin, one.votes) for one in preference_pairs(votes)]
    trust = agreement(votes)
    ranked = [rank(vote_table(votes, axis)) for axis in (None, "motion")]
    return rows, found, pairs, (trust.alpha, trust.consistent, trust.labellers), ranked


LONG: Any = [("vote", 0, "left", "", "tie")] * 14 + [("edit", 0, "right", "", "left")] * 6  # repeats, then changes


@example(steps=LONG, repeat_share=0.5, people=1)
@settings(max_examples=12)
@given(steps=STEPS, repeat_share=st.sampled_from([0.0, 0.5]), people=st.integers(1, 2))
def test_a_table_of_votes_comes_in_as_it_went_out(
    installations: Any, tmp_path_factory: Any, steps: Any, repeat_share: float, people: int
) -> None:
    here, elsewhere, ids = installations
    spec = CampaignSpec(title="t", clip_ids=ids, axes=("motion",), repeat_share=repeat_share, labellers_per_pair=people)
    campaign = here.create(spec)
    live(here, campaign.id, steps)
    table = tmp_path_factory.mktemp("votes") / "votes.csv"
    count = export_votes(here, campaign.id, table)
    wanted = said(here.votes(campaign.id))
    for other in (elsewhere, here):  # another installation, and another campaign of this one
        twin = other.create(spec)
        found = import_votes(other, twin.id, table)
        assert (found.stored, found.known, found.skipped) == (count, 0, ())
        assert said(other.votes(twin.id)) == wanted
        again = import_votes(other, twin.id, table)
        assert (again.stored, again.known, again.skipped) == (0, count, ())
        assert said(other.votes(twin.id)) == wanted


def test_a_repeat_stays_one_though_the_first_answer_was_changed_after_it(installations: Any, tmp_path: Path) -> None:
    """An edited answer comes after the repeat in the table and must not be taken for the repeat."""
    here, elsewhere, ids = installations
    spec = CampaignSpec(title="t", clip_ids=ids[:2], repeat_share=0)
    campaign = here.create(spec)
    (pair,) = here.pairs(campaign.id)
    header = "left_clip,right_clip,labeller,choice,is_repeat\n"
    rows = [f"{pair.clip_a},{pair.clip_b},ann,left,0", f"{pair.clip_b},{pair.clip_a},ann,right,1"]
    (tmp_path / "in.csv").write_text(header + "\n".join(rows))
    import_votes(here, campaign.id, tmp_path / "in.csv")
    first = next(one for one in here.votes(campaign.id) if not one.is_repeat).vote
    changed = {"pair_id": first.pair_id, "shown_left": first.shown_left, "choice": "right", "client_uuid": "a" * 12}
    here.edit(Vote.read(changed, "ann"))
    assert [one.is_repeat for one in here.votes(campaign.id)] == [True, False]
    export_votes(here, campaign.id, tmp_path / "out.csv")
    twin = elsewhere.create(spec)
    import_votes(elsewhere, twin.id, tmp_path / "out.csv")
    (before,), (after,) = (tally_pairs(one) for one in (here.votes(campaign.id), elsewhere.votes(twin.id)))
    assert before.score == after.score == 0.0


def test_a_pair_that_is_open_here_becomes_the_repeat_of_an_answer_that_comes_in(
    installations: Any, tmp_path: Path
) -> None:
    """The pair is shown again with its sides swapped: only one of the answers counts as the vote."""
    _, elsewhere, ids = installations
    campaign = elsewhere.create(CampaignSpec(title="t", clip_ids=ids[:2], repeat_share=0))
    (shown,) = elsewhere.next_pairs(campaign.id, "ann")
    header = "left_clip,right_clip,labeller,choice,is_repeat\n"
    (tmp_path / "in.csv").write_text(f"{header}{shown.right_clip},{shown.left_clip},ann,left,0\n")
    assert import_votes(elsewhere, campaign.id, tmp_path / "in.csv").stored == 1
    fields = {"pair_id": shown.pair_id, "shown_left": shown.left_clip, "choice": "left", "client_uuid": "b" * 12}
    elsewhere.vote(Vote.read(fields, "ann"))
    assert [one.is_repeat for one in elsewhere.votes(campaign.id)] == [False, True]
    (opinion,) = tally_pairs(elsewhere.votes(campaign.id))
    assert opinion.votes == 1
    (tmp_path / "late.csv").write_text(f"{header}{shown.left_clip},{shown.right_clip},ann,tie,0\n")
    (sentence,) = import_votes(elsewhere, campaign.id, tmp_path / "late.csv").skipped
    assert "already" in sentence


@given(text=TEXTS)
def test_a_cell_is_never_live_and_comes_back_exactly(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text
    assert not cell or cell[0] not in "=+-@\t\r\n＝＋－＠"


def test_a_campaign_that_is_not_there_takes_no_votes(installations: Any, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("left_clip,right_clip,labeller,choice\n")
    with pytest.raises(StoreError, match="no campaign"):
        import_votes(installations[0], "cfffffff", tmp_path / "in.csv")
