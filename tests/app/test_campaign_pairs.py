"""The table of a campaign's pairs, and AI labellers, without a browser."""

from collections.abc import Callable
from typing import Any, cast

import gradio as gr
import pytest

from app.components.campaign_pairs import CampaignPairs
from app.context import AppContext
from app.text import labelling as text
from app.views.campaign_list import pair_table
from app.views.training import train_form
from engine.errors import ConfigError
from engine.labelling.campaign_spec import CampaignSpec, Pair
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import JudgeVote, store_judge_votes
from engine.labelling.votes import Vote
from engine.storage.library import ClipRecord

MakeClip = Callable[..., ClipRecord]
JUDGE = 'title = "Red"\n[vlm]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\nmode = "pairwise"\nask = "Redder?"\n'


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def campaign(context: AppContext, make_clip: MakeClip) -> Any:
    """Three pairs of a red circle and one of a blue square."""
    clips = [make_clip(seed=seed, files=True) for seed in range(3)]
    clips += [make_clip(prompt="a blue square", seed=seed, files=True) for seed in range(2)]
    ids = tuple(clip.id for clip in clips)
    return Campaigns(context.store).create(CampaignSpec(title="t", clip_ids=ids, repeat_share=0, labellers_per_pair=2))


@pytest.fixture
def pairs(context: AppContext, open_tab: Any) -> CampaignPairs:
    def campaigns() -> list[tuple[str, str]]:
        return [(one.title, one.id) for one in Campaigns(context.store).list()]

    return cast(CampaignPairs, open_tab(lambda tab: CampaignPairs(context, tab, campaigns)))


@pytest.fixture
def judge(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DAILIES_WORKSPACE", str(context.workspace.root))
    folder = context.workspace.saved / "external_rewards"
    folder.mkdir(parents=True)
    (folder / "red.toml").write_text(JUDGE)
    return "red"


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def vote(campaigns: Campaigns, campaign: Any, labeller: str, choose: Callable[[Any], str]) -> list[str]:
    """Vote on two pairs; their ids."""
    asked = campaigns.next_pairs(campaign.id, labeller, 2)
    for number, one in enumerate(asked):
        kind: Any = choose(one)
        uuid = f"{labeller}-{number}-of-pairs"
        campaigns.vote(
            Vote(pair_id=one.pair_id, labeller=labeller, choice=kind, shown_left=one.left_clip, client_uuid=uuid)
        )
    return [one.pair_id for one in asked]


def by_key(table: dict[str, Any]) -> dict[str, list[str]]:
    return {row["key"]: row["cells"] for row in table["rows"]}


def test_votes_are_counted_by_clip_whatever_its_side(context: AppContext, campaign: Any) -> None:
    campaigns = Campaigns(context.store)
    pairs = {pair.id: pair for pair in campaigns.pairs(campaign.id)}

    def for_a(one: Any) -> str:
        return "left" if one.left_clip == pairs[one.pair_id].clip_a else "right"

    voted = [*vote(campaigns, campaign, "ann", for_a), *vote(campaigns, campaign, "bob", lambda one: "both_bad")]
    cells = by_key(pair_table(context, campaign.id))
    counts = {key: [voted[:2].count(key), 0, 0, voted[2:].count(key)] for key in pairs}
    assert {key: [int(count) for count in cells[key][3:7]] for key in pairs} == counts


def test_pairs_are_found_by_words_and_by_their_votes(context: AppContext, campaign: Any) -> None:
    campaigns = Campaigns(context.store)
    voted = vote(campaigns, campaign, "ann", lambda one: "left")
    split = vote(campaigns, campaign, "bob", lambda one: "tie")
    assert len(pair_table(context, campaign.id)["rows"]) == 4
    (blue,) = pair_table(context, campaign.id, "BLUE square")["rows"]
    assert blue["cells"][0] == "a blue square"
    found = {state: set(by_key(pair_table(context, campaign.id, "", state))) for state in text.PAIR_STATES}
    assert found["decided"] == set(voted) and found["split"] == set(split) - set(voted)
    assert found["unvoted"] == found["all"] - set(voted) - set(split) and found["dropped"] == set()
    assert pair_table(context, None)["note"] == text.NO_CAMPAIGN


def test_a_pair_is_dropped_and_taken_back_in_its_row(context: AppContext, pairs: CampaignPairs, campaign: Any) -> None:
    table = pairs.show(campaign.id, "", "all")
    key = table["rows"][1]["key"]
    dropped = pairs.drop_or_restore(table, campaign.id, "", "all", event(key=key))
    assert dropped["rows"][1] == {**table["rows"][1], "action": text.RESTORE_PAIR, "state": "off"}
    assert dropped["note"] == "4 pairs, 1 dropped"
    assert list(by_key(pairs.show(campaign.id, "", "dropped"))) == [key]
    assert Campaigns(context.store).progress(campaign.id).pairs == 3
    assert pairs.drop_or_restore(dropped, campaign.id, "", "all", event(key=key)) == table


def test_a_judge_is_asked_once_and_its_votes_are_shown(
    context: AppContext, pairs: CampaignPairs, campaign: Any, judge: str
) -> None:
    opened = pairs.open(None, "", "all", None)
    assert (
        opened[0]["value"] == campaign.id and opened[1]["choices"] == [("Red", judge)] and opened[1]["value"] == judge
    )
    assert text.JUDGED_BY in opened[2]
    for _ in range(2):
        assert len(pairs.judge_pairs(campaign.id, judge)["active"]) == 1
    (job,) = context.queue.list()
    assert (job.kind, job.config) == ("judge", {"campaign": campaign.id, "judge": judge})
    pair: Pair = Campaigns(context.store).pairs(campaign.id)[0]
    store_judge_votes(context.store, [JudgeVote(pair=pair, judge=judge, model="m", asked="0", answers=("A", "B"))])
    assert by_key(pairs.show(campaign.id, "", "all"))[pair.id][-1] == "red: A"


def test_without_a_judge_it_is_said(context: AppContext, pairs: CampaignPairs, campaign: Any) -> None:
    assert text.NO_JUDGE in pairs.open(campaign.id, "", "all", None)[2]
    with pytest.raises(ConfigError, match="No AI labeller"):
        pairs.judge_pairs(campaign.id, None)
    with pytest.raises(ConfigError, match="No campaign"):
        pairs.judge_pairs(None, "red")


def test_a_run_may_use_the_votes_of_a_judge(context: AppContext, campaign: Any, judge: str) -> None:
    form = train_form.open_form(context, "mini_dpo")
    assert form["offered"]["judges"] == [{"key": judge, "title": "Red"}]
    chosen = {**form["choices"], "campaign": campaign.id, "judge": judge, "judge_agreement": "0.85", "settings": {}}
    preset = train_form.read_preset(context, chosen)
    assert (preset.judge, preset.judge_agreement, preset.pairs) == (judge, 0.85, None)
    assert "judge_agreement=0.85" in train_form.command(chosen, train_form.read_changes(context, chosen)[1])
    for wrong in ("", "x", "1.5", "nan"):
        with pytest.raises(ConfigError, match="number from 0 to 1"):
            train_form.read_preset(context, {**chosen, "judge_agreement": wrong})
    alone = train_form.read_preset(context, {**chosen, "campaign": "", "pairs": form["choices"]["pairs"]})
    assert alone.judge is None, "a judge is one of a campaign"
