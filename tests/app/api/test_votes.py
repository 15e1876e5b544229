"""Votes over HTTP, the form of a campaign, and what its votes say."""

import io
import resource
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.exports import export_routes
from app.api.votes import voting_routes
from app.context import AppContext
from app.tabs.label import LabelTab
from app.text import labelling as text
from app.views import campaigns as view
from engine.errors import ConfigError
from engine.labelling.campaign_spec import Campaign, CampaignSpec
from engine.labelling.campaigns import Campaigns
from tests.app.api.voting_calls import ask, cast, shown, undo

MakeClip = Callable[..., Any]
HOSTILE = "<img src=x onerror=alert(1)> ../../etc/passwd"


@pytest.fixture
def client(context: AppContext) -> TestClient:
    server = FastAPI()
    server.include_router(voting_routes(context))
    server.include_router(export_routes(context))
    return TestClient(server)


@pytest.fixture
def campaign(context: AppContext, make_clip: MakeClip) -> Campaign:
    """Four takes of one prompt: six pairs, each for two people."""
    ids = [make_clip(prompt=HOSTILE, seed=seed, files=True, score=seed / 10).id for seed in range(1, 5)]
    spec = CampaignSpec(title=HOSTILE, clip_ids=tuple(ids), axes=("motion",), labellers_per_pair=2, repeat_share=0)
    return Campaigns(context.store).create(spec)


def test_the_pairs_tell_no_model(client: TestClient, campaign: Campaign) -> None:
    said = ask(client, "next", campaign).json()
    assert len(said["pairs"]) == 4 and (said["done"], said["remaining"], said["open"]) == (0, 6, True)
    assert "mini" not in str(said) and said["pairs"][0]["prompt"] == HOSTILE
    assert ask(client, "next", campaign).json()["pairs"] == said["pairs"]  # asked again: the same, same sides


def test_a_vote_is_stored_once_and_the_answer_names_it(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    vote = cast(pair, "right", axes={"motion": "tie"}, note=HOSTILE)
    replies = [ask(client, "vote", campaign, vote=vote) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert replies[0].json() == {"stored": vote["client_uuid"], "said": text.CHOICES["right"]}
    (stored,) = Campaigns(context.store).votes(campaign.id)
    assert stored.winner == shown(context, pair).right_clip == stored.right_clip and stored.vote.note == HOSTILE
    assert ask(client, "next", campaign).json()["pairs"][0] != pair


def test_a_vote_is_refused_with_the_reason(client: TestClient, campaign: Campaign) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    bad = [
        cast({"showing": 999_999_999}),
        cast({"showing": str(pair["showing"])}),
        cast({"showing": True}),
        cast({"showing": 10**30}),
        cast(pair, axes={"smell": "left"}),
        cast(pair, "up"),
        cast(pair, client_uuid="x"),
        {**cast(pair), "labeller": "bob", "extra": 1},
        {},
        "vote",
    ]
    replies = [ask(client, "vote", campaign, vote=vote) for vote in bad]
    replies.append(ask(client, "vote", campaign, vote=cast(pair), labeller="bob"))
    replies.append(ask(client, "next", campaign, labeller="   "))
    assert [reply.status_code for reply in replies] == [409] * len(replies)
    assert all(reply.json()["problem"] and reply.json()["refused"] is True for reply in replies)
    assert client.post("/voting/next", json={"campaign": "nope", "labeller": "a"}).status_code == 409
    for body in (b"[]", b"{", b"null", b""):
        reply = client.post("/voting/next", content=body)
        assert reply.status_code == 422 and reply.json()["refused"] is True


def test_a_clock_that_jumped_is_no_time(client: TestClient, campaign: Campaign, context: AppContext) -> None:
    for ms in (-5, 1e12, None, "soon"):
        pair = ask(client, "next", campaign).json()["pairs"][0]
        assert ask(client, "vote", campaign, vote=cast(pair, ms=ms)).status_code == 200
    assert {one.vote.ms for one in Campaigns(context.store).votes(campaign.id)} == {None}


def test_a_second_window_is_told_that_its_vote_came_late(client: TestClient, campaign: Campaign) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    assert ask(client, "vote", campaign, vote=cast(pair)).status_code == 200
    late = ask(client, "vote", campaign, vote=cast(pair))
    assert late.status_code == 409 and "another window" in late.json()["problem"]


def test_a_database_that_is_away_is_no_refusal(client: TestClient, campaign: Campaign, context: AppContext) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    with context.store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE votes RENAME TO elsewhere")
    assert ask(client, "vote", campaign, vote=cast(pair)).status_code == 503
    with context.store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO votes")
    assert ask(client, "vote", campaign, vote=cast(pair)).status_code == 200


def test_undo_gives_the_pair_again(client: TestClient, campaign: Campaign) -> None:
    assert "lacks its vote" in ask(client, "undo", campaign).json()["problem"]
    assert "no vote" in ask(client, "undo", campaign, vote=str(uuid.uuid4())).json()["problem"]
    pair = ask(client, "next", campaign).json()["pairs"][0]
    ask(client, "vote", campaign, vote=cast(pair, axes={"motion": "right"}, note=HOSTILE))
    said = undo(client, campaign).json()
    assert said == {"pairs": [pair], "axes": {"motion": "right"}, "note": HOSTILE, "last": None}
    assert ask(client, "next", campaign).json()["done"] == 0


def test_undo_sent_twice_withdraws_one_vote(client: TestClient, campaign: Campaign, context: AppContext) -> None:
    for pair in ask(client, "next", campaign).json()["pairs"][:3]:
        ask(client, "vote", campaign, vote=cast(pair))
    last = ask(client, "next", campaign).json()["last"]
    first, again = (ask(client, "undo", campaign, vote=last).json() for _ in range(2))
    assert first == again and len(Campaigns(context.store).votes(campaign.id)) == 2
    assert first["last"] == Campaigns(context.store).votes(campaign.id)[-1].vote.client_uuid


def test_a_pair_whose_file_is_gone_is_left_out_and_reported(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    for path in context.workspace.clip_folder(shown(context, pair).left_clip).iterdir():
        path.unlink()
    said = ask(client, "next", campaign).json()
    assert said["gone"] >= 1 and pair["showing"] not in [one["showing"] for one in said["pairs"]]


# ---- The tab
@pytest.fixture
def tab(context: AppContext, open_tab: Any) -> LabelTab:
    made: LabelTab = open_tab(lambda tab: LabelTab(context, tab))
    return made


def form(**changes: Any) -> list[Any]:
    fields = {"title": "t", "what": view.MADE, "prompts": "a red circle\n\n a star ", "entrants": ["mini"], "takes": 2}
    fields |= {
        "num_frames": 17,
        "which": "newest",
        "per_pair": 1,
        "target": 0,
        "strategy": "random",
        "axes": ["motion"],
    }
    return [{**fields, **changes}[name] for name in view.FIELDS]


def test_a_form_is_read(context: AppContext) -> None:
    spec = view.read_spec(context, form())
    assert spec.prompts == ("a red circle", "a star") and [one.key for one in spec.entrants] == ["mini"]
    assert (spec.settings, spec.axes, spec.target_votes) == ({"num_frames": 17}, ("motion",), None)
    two = view.read_spec(context, form(entrants=["mini", f"mini{view.SEPARATOR}run-2"], takes=1))
    assert [one.key for one in two.entrants] == ["mini", "mini + run-2"]


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"title": " "}, "title", "Enter a title"),
        ({"prompts": " \n"}, "prompts", "Enter a prompt"),
        ({"entrants": []}, "entrants", "Choose a model"),
        ({"takes": 1}, "takes", "Clips per prompt to 2"),
        ({"what": view.CLIPS}, "which", "has no clips"),
    ],
)
def test_a_mistake_names_its_field(context: AppContext, changes: dict[str, Any], field: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        view.read_spec(context, form(**changes))
    assert error.value.field == field


def test_an_empty_campaign_says_so(tab: LabelTab) -> None:
    campaign, _, _, sheet, *plots = tab.show(None, "mini")
    assert campaign["value"] is None and sheet["empty"] == text.NO_RESULTS
    assert [one["visible"] for one in plots] == [False] * 6


def test_results_say_who_won_and_how_far_rewards_agree(
    client: TestClient, campaign: Campaign, context: AppContext, tab: LabelTab
) -> None:
    """Everybody prefers the clip that the reward prefers, or the left one of equals."""
    total = {record.id: record.total or 0 for record in context.store.clips()}
    for who in ("anna", "bob"):
        while pairs := ask(client, "next", campaign, labeller=who).json()["pairs"]:
            one = shown(context, pairs[0])
            left, right = total[one.left_clip], total[one.right_clip]
            ask(client, "vote", campaign, vote=cast(pairs[0], "left" if left > right else "right"), labeller=who)
    found = view.results(context, campaign.id, "mini")
    figures = dict(found.sheet["figures"])
    assert figures["Votes"] == "12 of 12" and figures[text.FIGURES["alpha"]].startswith("1.00")
    assert [row[:2] for row in found.sheet["people"]] == [["anna", "6"], ["bob", "6"]]
    assert found.rewards is not None and set(found.rewards.data[0].x) == {1.0}
    assert found.ranking is None  # takes of one model: there is no ranking, only pairs to train on
    assert found.sheet["remarks"] == [text.lacking("mini")["ranking"]]
    unscored = view.results(context, campaign.id, "portrait")
    assert unscored.rewards is None and unscored.sheet["remarks"] == [*text.lacking("portrait").values()]
    assert tab.show(campaign.id, "mini")[4]["visible"] is True
    for _ in range(2):  # two windows, in each of which the button said so
        closed = tab.close_or_open(campaign.id, "mini", view.OVERALL, text.CLOSE_CAMPAIGN)
        assert closed[2]["value"] == text.REOPEN_CAMPAIGN
    assert ask(client, "next", campaign, labeller="cleo").json()["open"] is False


def test_results_are_by_axis_of_the_rubric_too(
    client: TestClient, context: AppContext, tab: LabelTab, make_clip: MakeClip
) -> None:
    """Everybody prefers one model, and the other one's motion."""
    ids = [
        make_clip(prompt=prompt, seed=number, files=True, changes={"adapter": adapter}).id
        for number, (prompt, adapter) in enumerate((p, a) for p in ("a", "b", "c") for a in (None, "fast"))
    ]
    spec = CampaignSpec(
        title="t", clip_ids=tuple(ids), axes=("motion", "own_axis"), labellers_per_pair=2, repeat_share=0
    )
    campaign = Campaigns(context.store).create(spec)
    plain = set(ids[::2])
    for who in ("anna", "bob"):
        while pairs := ask(client, "next", campaign, labeller=who).json()["pairs"]:
            sides = ("left", "right") if shown(context, pairs[0]).left_clip in plain else ("right", "left")
            ask(client, "vote", campaign, vote=cast(pairs[0], sides[0], axes={"motion": sides[1]}), labeller=who)
    best = [view.results(context, campaign.id, "mini", axis).ranking.data[0].y[0] for axis in (None, "motion")]
    assert best == ["mini", "mini + fast"]
    assert view.results(context, campaign.id, "mini", "own_axis").ranking is None
    figures = dict(tab.show(campaign.id, "mini", "motion")[3]["figures"])
    assert figures["Alpha, motion"] == "1.00" and "Alpha, own axis" not in figures
    by = tab.show(campaign.id, "mini", "motion")[1]
    assert (by["visible"], by["value"], [name for name, _ in by["choices"]][1:]) == (
        True,
        "motion",
        ["Motion", "Own axis"],
    )
    assert tab.show(campaign.id, "mini", "smell")[1]["value"] == view.OVERALL


def test_exports_are_one_file(client: TestClient, campaign: Campaign, context: AppContext) -> None:
    url = f"/voting/export/{campaign.id}"
    assert client.get(f"{url}/trl").status_code == 409  # nobody has voted
    pair = ask(client, "next", campaign).json()["pairs"][0]
    ask(client, "vote", campaign, vote=cast(pair))
    for layout in ("huggingface", "trl", "videodpo"):
        reply = client.get(f"{url}/{layout}")
        names = zipfile.ZipFile(io.BytesIO(reply.content)).namelist()
        assert reply.status_code == 200 and sum(name.endswith(".mkv") for name in names) == 2, names
    assert "anna" in client.get(f"{url}/votes").text
    assert client.get(f"{url}/nothing").status_code == 409
    assert list(context.workspace.tmp.iterdir()) == []


def test_an_export_without_room_is_a_sentence_and_leaves_nothing(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    """A limit on the size of files stands for the full disk: the zip alone exceeds it."""
    pair = ask(client, "next", campaign).json()["pairs"][0]
    ask(client, "vote", campaign, vote=cast(pair))
    largest = max(path.stat().st_size for path in context.workspace.clips.rglob("frames.mkv"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100, limits[1]))
    try:
        reply = client.get(f"/voting/export/{campaign.id}/trl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert reply.status_code == 507 and "cannot be written (File too large): free some space" in reply.text
    assert list(context.workspace.tmp.iterdir()) == []


# ---- One's own votes, changing one, and what comes in
def mine(client: TestClient, campaign: Campaign, **fields: Any) -> Any:
    return ask(client, "mine", campaign, **fields).json()["votes"]


def test_an_earlier_vote_is_changed_and_history_keeps_it(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    first, second = ask(client, "next", campaign).json()["pairs"][:2]
    ask(client, "vote", campaign, vote=cast(first, "left", axes={"motion": "left"}, note="fast"))
    ask(client, "vote", campaign, vote=cast(second, "tie"))
    newest, oldest = mine(client, campaign)
    assert newest["pair"] == second and (newest["choice"], newest["axes"], newest["note"]) == ("tie", {}, "")
    assert oldest["pair"] == first and (oldest["axes"], oldest["note"]) == ({"motion": "left"}, "fast")
    change = cast(oldest["pair"], "right")
    replies = [ask(client, "edit", campaign, vote=change) for _ in range(3)]  # sent again and again: once
    assert [reply.status_code for reply in replies] == [200] * 3 and replies[0].json()["stored"] == change[
        "client_uuid"
    ]
    assert [one["choice"] for one in mine(client, campaign)] == ["right", "tie"]  # it is the newest one now
    history = Campaigns(context.store).votes(campaign.id, history=True)
    assert [(one.vote.choice, one.ended_as) for one in history] == [("left", "edited"), ("tie", None), ("right", None)]
    assert ask(client, "next", campaign).json()["done"] == 2


def test_nobody_sees_or_changes_anothers_votes(client: TestClient, campaign: Campaign) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    ask(client, "vote", campaign, vote=cast(pair))
    assert mine(client, campaign, labeller="bob") == []
    assert ask(client, "edit", campaign, vote=cast(pair), labeller="bob").status_code == 409


def test_ones_own_votes_do_not_tell_repeats_and_leave_out_deleted_clips(
    client: TestClient, context: AppContext, make_clip: MakeClip
) -> None:
    ids = [make_clip(seed=seed, files=True).id for seed in range(1, 6)]
    campaign = Campaigns(context.store).create(CampaignSpec(title="t", clip_ids=tuple(ids), repeat_share=0.5))
    while pairs := ask(client, "next", campaign).json()["pairs"]:
        ask(client, "vote", campaign, vote=cast(pairs[0]))
    stored, told = Campaigns(context.store).votes(campaign.id), mine(client, campaign)
    assert any(one.is_repeat for one in stored) and len(told) == len(stored) and "repeat" not in str(told)
    context.store.delete(ids[:1])
    sides = [shown(context, one["pair"]) for one in mine(client, campaign)]
    assert sides and all(ids[0] not in (one.left_clip, one.right_clip) for one in sides)


def test_the_pulse_changes_with_every_vote_and_with_nothing_else(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    campaigns = Campaigns(context.store)
    pulses = [campaigns.revision(campaign.id)]
    pair = ask(client, "next", campaign).json()["pairs"][0]
    assert campaigns.revision(campaign.id) == pulses[0]
    steps: list[Callable[[], Any]] = [
        lambda: ask(client, "vote", campaign, vote=cast(pair)),
        lambda: ask(client, "edit", campaign, vote=cast(pair, "tie")),
        lambda: undo(client, campaign),
    ]
    for step in steps:
        assert step().status_code == 200
        pulses.append(campaigns.revision(campaign.id))
    assert len(set(pulses)) == 4
    assert view.results(context, campaign.id, "mini").sheet["pulse"] == pulses[-1]


def test_votes_and_pairs_come_in_through_the_page(
    client: TestClient, campaign: Campaign, context: AppContext, tab: LabelTab, tmp_path: Path
) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    ask(client, "vote", campaign, vote=cast(pair))
    for layout, name in (("votes", "votes.csv"), ("trl", "pairs.zip")):
        (tmp_path / name).write_bytes(client.get(f"/voting/export/{campaign.id}/{layout}").content)
    twin = Campaigns(context.store).create(campaign.spec)
    table = (tmp_path / "votes.csv").read_text(encoding="utf-8").replace(",anna,", ",eva,")
    uuids = [one.vote.client_uuid for one in Campaigns(context.store).votes(campaign.id)]
    (tmp_path / "votes.csv").write_text(table.replace(uuids[0], ""), encoding="utf-8")
    tab.bring_votes(twin.id, "mini", view.OVERALL, str(tmp_path / "votes.csv"))
    assert [one.vote.labeller for one in Campaigns(context.store).votes(twin.id)] == ["eva"]
    for expected in ("pairs.jsonl", "pairs-2.jsonl"):
        tab.bring_pairs(str(tmp_path / "pairs.zip"))
        assert (context.workspace.root / "pairs" / expected).is_file()
    assert list(context.workspace.tmp.iterdir()) == []
    with pytest.raises(ConfigError, match="choose it first"):
        tab.bring_votes(None, "mini", view.OVERALL, str(tmp_path / "votes.csv"))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [({"../out.csv": "x"}, "outside its folder"), ({"a/notes.txt": "x"}, "no known layout")],
)
def test_a_zip_that_will_not_do_is_one_sentence(
    tab: LabelTab, context: AppContext, tmp_path: Path, entries: dict[str, str], sentence: str
) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ConfigError, match=sentence):
        tab.bring_pairs(str(tmp_path / "in.zip"))
    (tmp_path / "in.zip").write_bytes(b"PK but no zip")
    with pytest.raises(ConfigError, match="cannot be read as a zip"):
        tab.bring_pairs(str(tmp_path / "in.zip"))
    assert list(context.workspace.tmp.iterdir()) == []


@pytest.mark.parametrize("made", ["clips", "entrants"])
@pytest.mark.parametrize(("model", "preset"), [("mini", "mini_dpo"), ("wan21_1_3b", "dpo_videodpo10k")])
def test_votes_open_a_preset_for_the_model_that_made_the_clips(
    context: AppContext, make_clip: MakeClip, made: str, model: str, preset: str
) -> None:
    ids = tuple(make_clip(seed=seed, changes={"model": model}).id for seed in (1, 2))
    clips = {"clip_ids": ids} if made == "clips" else {"prompts": ("a",), "entrants": ({"model": model},), "takes": 2}
    campaign = Campaigns(context.store).create(CampaignSpec.model_validate({"title": "t", **clips}))
    chosen = view.train_form(context, campaign.id)["choices"]
    assert (chosen["preset"], chosen["model"], chosen["campaign"]) == (preset, model, campaign.id)
