"""The Score tab's handlers, without a browser."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest

from app.context import AppContext
from app.forms.preset_choices import mix_choices
from app.tabs.score import ScoreTab
from app.text import general, score
from app.views import clip_sets
from app.views.clip_panel import NOTHING
from engine.clock import now
from engine.config.presets import load_preset
from engine.errors import ConfigError, MediaError
from engine.jobs.spec import JobSpec
from engine.process_identity import ProcessIdentity
from engine.storage.clip_files import save_overlays
from engine.storage.library import ClipRecord
from engine.storage.video_import import import_clip
from engine.video.writer import write_mp4
from rewards import RewardReport, RewardResult
from rewards.calibration import mix_calibration
from rewards.mix import combine

MakeClip = Callable[..., ClipRecord]
# Of what `load` returns, after strip and choices.
MIX, NOTICE, SLIDERS, TABLE, DISAGREEMENT, MATRIX, CORRELATIONS, RELATIONS = range(2, 10)


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def context(context: AppContext, tmp_path: Path) -> AppContext:
    """A context whose page may read the test's folder."""
    return replace(context, folders=(tmp_path / "opened",))


@pytest.fixture
def tab(context: AppContext, open_tab: Any) -> ScoreTab:
    return cast(ScoreTab, open_tab(lambda tab: ScoreTab(context, tab)))


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def finish(context: AppContext, spec: JobSpec, **result: Any) -> str:
    """File a job and end it as a worker would; its id."""
    context.queue.submit(spec)
    job = context.queue.claim(ProcessIdentity.current())
    assert job is not None
    context.queue.finish(job.id, "done", result=result)
    return job.id


def report_of(clip_id: str, **values: float) -> RewardReport:
    """A report by `mini` of these values, with open gates."""
    mix = load_preset("rewards", "mini")
    total = combine(values, mix.weights, {"motion": 1.0}, mix.gates)
    return RewardReport(
        clip_id=clip_id,
        mix="mini",
        results={key: RewardResult(value=value, raw=value) for key, value in values.items()},
        weights=total.weights,
        gates={"motion": 1.0},
        total=total.value,
        seconds={},
        calibration=mix_calibration(mix),
    )


def ids(table: dict[str, Any]) -> list[str]:
    return [row["id"] for row in table["rows"]]


def test_the_newest_clips_are_ranked_by_the_mix(tab: ScoreTab, make_clip: MakeClip) -> None:
    made = [make_clip(seed=seed, score=score).id for seed, score in enumerate((0.2, 0.9, None, 0.5, 0.4))]
    loaded = tab.load(clip_sets.NEWEST, "mini")
    assert ids(loaded[TABLE]) == [made[1], made[3], made[4], made[0], made[2]]
    weights = load_preset("rewards", "mini").weights
    assert [column["key"] for column in loaded[TABLE]["columns"]] == [key for key in weights if weights[key] > 0]
    assert loaded[RELATIONS]["visible"] and loaded[MATRIX] is not None and loaded[DISAGREEMENT] == []
    assert loaded[CORRELATIONS]["visible"]


def test_a_reward_without_a_value_says_why(tab: ScoreTab, make_clip: MakeClip) -> None:
    make_clip(seed=1), make_clip(seed=2, score=None)
    scored, unscored = tab.load(clip_sets.NEWEST, "mini")[TABLE]["rows"]
    assert scored["reasons"] == {"loop_break": "Not applicable: the clip is shorter than two loops"}
    assert unscored["reasons"] == {} and scored["model"] == "mini"


def test_one_clip_has_no_correlations_to_show(tab: ScoreTab, make_clip: MakeClip) -> None:
    make_clip(score=0.5)
    loaded = tab.load(clip_sets.NEWEST, "mini")
    assert loaded[RELATIONS]["visible"] and not loaded[CORRELATIONS]["visible"] and loaded[MATRIX] is None


def test_another_mix_has_not_scored_them(tab: ScoreTab, make_clip: MakeClip) -> None:
    make_clip(score=0.5)
    loaded = tab.load(clip_sets.NEWEST, "motion")
    assert loaded[TABLE]["rows"][0]["total"] is None and loaded[RELATIONS]["visible"] is False


def test_an_empty_library_says_so(tab: ScoreTab) -> None:
    assert tab.load(clip_sets.NEWEST, "mini")[TABLE]["empty"]["title"] == general.TABLE_EMPTY[0]


def test_moving_a_weight_ranks_again_without_the_database(
    tab: ScoreTab, context: AppContext, make_clip: MakeClip
) -> None:
    make_clip(score=0.4)
    loaded = tab.load(clip_sets.NEWEST, "mini")
    sliders, table = loaded[SLIDERS], loaded[TABLE]
    context.store.close()
    off = dict.fromkeys(sliders["weights"], 0.0)
    assert tab.weigh(sliders, table, None, event(weights=off))[0]["rows"][0]["total"] is None
    moved = tab.weigh(sliders, table, None, event(weights={**off, "flow_smoothness": 2.0}))[0]["rows"][0]
    assert moved["total"] == pytest.approx(0.4 * (1 - 0.5 * 0.6)), "the motion gate stands at 0.4"


def test_table_and_details_show_the_same_total(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    record = make_clip(score=None)
    report = report_of(record.id, flow_smoothness=0.4, loop_break=0.8)
    context.store.save_report(record.id, "mini", report.to_dict())
    loaded = tab.load(clip_sets.NEWEST, "mini")
    facts = tab.open(record.id, "mini", loaded[SLIDERS])[1]
    assert facts["total"] == f"{report.total:.2f}" and facts["stored"] == ""
    weights = {**dict.fromkeys(loaded[SLIDERS]["weights"], 0.0), "loop_break": 1.0}
    weighed = tab.weigh(loaded[SLIDERS], loaded[TABLE], facts, event(weights=weights))
    assert weighed[0]["rows"][0]["total"] == pytest.approx(0.8)
    assert weighed[-1]["total"] == "0.80" and weighed[-1]["stored"] == score.stored(report.total)
    moved = {**loaded[SLIDERS], "weights": weights}
    assert tab.open(record.id, "mini", moved)[1]["total"] == "0.80"
    assert tab.open(record.id, "mini", {**moved, "mix": "motion"})[1]["total"] == facts["total"]


def test_the_mix_goes_by_the_source_of_the_clips(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    assert tab.load(clip_sets.NEWEST, None)[MIX]["value"] == clip_sets.TOY_MIX
    drawn = make_clip(seed=1)
    loaded = tab.load(clip_sets.NEWEST, None)
    assert loaded[MIX]["value"] == clip_sets.TOY_MIX and not loaded[NOTICE]["visible"]
    films = [make_clip(seed=seed, changes={"model": None, "source": "imported"}) for seed in (2, 3)]
    loaded = tab.load(clip_sets.NEWEST, None)
    assert (
        loaded[MIX]["value"] == clip_sets.REAL_MIX
        and "drawn shapes of the embedded model (1 of 3 clips here)" in loaded[NOTICE]["value"]
    )
    loaded = tab.load(clip_sets.NEWEST, "mini")
    assert loaded[MIX]["value"] == "mini" and "other video (2 of 3 clips here)" in loaded[NOTICE]["value"]
    chosen = clip_sets.of_clips([film.id for film in films])
    assert tab.load_suited(chosen, "mini")[MIX]["value"] == clip_sets.REAL_MIX
    assert tab.load_suited(chosen, "motion")[MIX]["value"] == "motion"
    assert tab.load_suited(clip_sets.of_clips([drawn.id]), "motion")[MIX]["value"] == clip_sets.TOY_MIX


def test_weights_are_saved_as_a_mix(tab: ScoreTab, context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_WORKSPACE", str(context.workspace.root))
    (save,) = tab.sliders.server_fns
    weights = {"flow_smoothness": 2.0, "loop_break": 0.25, "t_lpips": 0.0}
    order = {"mix": "motion", "title": "Smooth & calm", "weights": weights}
    assert save(order) == {"said": score.saved("Smooth & calm")}
    saved, base = load_preset("rewards", "smooth_calm"), load_preset("rewards", "motion")
    assert saved.weights == weights and (saved.gates, saved.calibration) == (base.gates, base.calibration)
    assert ("Smooth & calm", "smooth_calm") in mix_choices()
    assert "exists already" in save(order)["problem"]
    assert "at least one weight" in save({**order, "title": "None", "weights": {"t_lpips": 0.0}})["problem"]
    assert "needs a letter" in save({**order, "title": "!"})["problem"]


def test_starred_clips_are_a_set(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    _, second = make_clip(seed=1), make_clip(seed=2)
    context.store.star([second.id])
    assert ids(tab.load(clip_sets.STARRED, "mini")[TABLE]) == [second.id]


def test_what_is_not_scored_is_filed(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    _, unscored = make_clip(seed=1), make_clip(seed=2, score=None)
    tab.score_missing(tab.load(clip_sets.NEWEST, "mini")[TABLE], "mini")
    assert context.queue.list()[0].config["clip_ids"] == [unscored.id]


def test_where_all_is_scored_it_is_said(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    make_clip()
    with pytest.warns(UserWarning, match=general.ALL_SCORED):
        tab.score_missing(tab.load(clip_sets.NEWEST, "mini")[TABLE], "mini")
    assert context.queue.list() == []


def test_a_clip_opens_with_bars_timeline_and_overlays(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    record = make_clip(files=True)
    save_overlays(context.workspace, record.id, {"flow_smoothness.flow": np.zeros((9, 64, 64, 3), np.uint8)}, 8.0)
    column, facts, player, bars, _, timeline, overlay, _ = tab.open(record.id, "mini")
    assert column["visible"] and facts["id"] == record.id and bars["visible"] and timeline["visible"]
    assert len(player["clips"]) == 1
    assert [name for _, name in overlay["choices"]] == ["", "flow_smoothness.flow"]
    both = tab.show_overlay(facts, "flow_smoothness.flow")["clips"]
    assert both[1]["url"].endswith(f"{record.id}/overlays/flow_smoothness.flow.mp4")
    assert len(tab.show_overlay(facts, "")["clips"]) == 1


def test_several_clips_have_one_profile(tab: ScoreTab, make_clip: MakeClip) -> None:
    made = [make_clip(seed=seed).id for seed in range(2)]
    column, facts, player, bars, *_ = tab.compare("mini", event(ids=made))
    assert column["visible"] and facts is None and [clip["id"] for clip in player["clips"]] == made
    assert [trace.name for trace in bars["value"].data] == ["A", "B"]


def test_drawing_overlays_is_a_job_that_opens_the_first(
    tab: ScoreTab, context: AppContext, make_clip: MakeClip
) -> None:
    record = make_clip(files=True)
    tab.draw_overlays({"id": record.id}, "mini")
    spec = JobSpec(kind="overlays", config=context.queue.list()[0].config)
    context.queue.cancel(context.queue.list()[0].id)
    drawn = save_overlays(
        context.workspace, record.id, {"flow_smoothness.flow": np.zeros((9, 64, 64, 3), np.uint8)}, 8.0
    )
    job_id = finish(context, spec, clip_id=record.id, overlays=drawn)
    opened = tab.show_ended(clip_sets.NEWEST, "mini", {"id": record.id}, {"rows": []}, event(ids=[job_id]))[-8:]
    assert opened[6]["value"] == "flow_smoothness.flow" and len(opened[2]["clips"]) == 2


# ---- Videos from outside
def video(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    write_mp4(folder / name, np.zeros((9, 64, 64, 3), np.uint8), 8.0)
    return str(folder / name)


def test_one_dropped_video_is_scored_by_itself(tab: ScoreTab, context: AppContext) -> None:
    tab.import_videos([video(context.workspace.uploads / "c0ffee", "a.mp4")], "", "a ball", "mini")
    job = context.queue.list()[0]
    assert (job.kind, job.config["prompt"]) == ("score", "a ball") and Path(job.config["path"]).is_file()


def test_several_dropped_videos_are_a_folder_with_their_prompts(tab: ScoreTab, context: AppContext) -> None:
    sent = context.workspace.uploads / "c0ffee"
    files = [video(sent, "a.mp4"), video(sent, "b.mp4"), str(sent / "a.txt")]
    (sent / "a.txt").write_text("a ball")
    tab.import_videos(files, "", "", "mini")
    job = context.queue.list()[0]
    assert job.kind == "score_folder"
    assert sorted(path.name for path in Path(job.config["folder"]).iterdir()) == ["a.mp4", "a.txt", "b.mp4"]


def test_a_folder_of_this_machine_is_named(tab: ScoreTab, context: AppContext, tmp_path: Path) -> None:
    clips = tmp_path / "opened" / "clips"
    video(clips, "a.mp4")
    tab.import_videos(None, f" {clips} ", "", "mini")
    assert context.queue.list()[0].config["folder"] == str(clips)


def test_a_folder_that_was_not_opened_is_refused_whether_it_exists_or_not(
    tab: ScoreTab, context: AppContext, tmp_path: Path
) -> None:
    clips = tmp_path / "closed"
    video(clips, "a.mp4")
    (tmp_path / "opened").mkdir()
    (tmp_path / "opened" / "link").symlink_to(clips)
    outside = [clips, tmp_path / "nowhere", tmp_path / "opened" / "link", tmp_path / "opened" / ".." / "closed", "/"]
    for folder in outside:
        with pytest.raises(ConfigError, match="may not read"):
            tab.import_videos(None, str(folder), "", "mini")
    assert context.queue.list() == []


@pytest.mark.parametrize(
    ("name", "content", "folder", "error", "sentence"),
    [
        (None, b"", "", ConfigError, general.NOTHING_TO_SCORE),
        ("words.txt", b"a ball", "", ConfigError, general.NOTHING_TO_SCORE),
        ("empty.mp4", b"", "", MediaError, "is empty"),
        (None, b"", "opened/nowhere", ConfigError, "no folder /.*/nowhere"),
        (None, b"", "opened", ConfigError, "has no video"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(
    tab: ScoreTab,
    context: AppContext,
    tmp_path: Path,
    name: str,
    content: bytes,
    folder: str,
    error: Any,
    sentence: str,
) -> None:
    files = None
    (tmp_path / "opened").mkdir()
    if name:
        (tmp_path / name).write_bytes(content)
        files = [str(tmp_path / name)]
    with pytest.raises(error, match=sentence):
        tab.import_videos(files, folder and str(tmp_path / folder), "", "mini")
    assert context.queue.list() == []


def test_a_folder_that_was_scored_becomes_the_set(
    tab: ScoreTab, context: AppContext, make_clip: MakeClip, tmp_path: Path
) -> None:
    video(tmp_path / "clips", "a.mp4")
    _, mine = make_clip(seed=1), make_clip(seed=2)
    spec = JobSpec.score_folder(tmp_path / "clips", "", "motion")
    unread = {"b.mp4": "'b.mp4' is empty.", "c.mp4": "no"}
    job_id = finish(context, spec, clip_ids=[mine.id], unscored={mine.id: "no network"}, unread=unread)
    there = tab.load(clip_sets.NEWEST, "mini")[TABLE]
    same = tab.show_ended(clip_sets.NEWEST, "mini", None, there, event(ids=[job_id]))
    assert (same[1]["value"], same[MIX]["value"], same[-6]) == (clip_sets.NEWEST, "mini", NOTHING.player), "no jump"
    offer = same[TABLE]["imported"]
    assert offer == {"which": f"job:{job_id}", "mix": "motion", "sentence": "Scored: Folder clips, 2 failed."}
    assert tab.weigh(tab.load("newest", "mini")[4], same[TABLE], None, event(weights={}))[0]["imported"] == offer
    loaded = tab.show_set(event(**offer))
    assert ids(tab.show_ended("newest", "mini", None, {"rows": []}, event(ids=[job_id]))[TABLE]) == [mine.id]
    assert (
        loaded[1]["value"] == f"job:{job_id}" and ids(loaded[TABLE]) == [mine.id] and loaded[MIX]["value"] == "motion"
    )
    assert loaded[1]["choices"][2][0].startswith("Folder clips, 1 clip")
    assert loaded[TABLE]["failed"] == [
        {"name": "b.mp4", "why": "'b.mp4' is empty."},
        {"name": "c.mp4", "why": "no"},
        {"name": mine.prompt, "why": "no network"},
    ]


def test_a_job_without_a_result_changes_no_open_clip(tab: ScoreTab, context: AppContext, make_clip: MakeClip) -> None:
    job = context.queue.submit(JobSpec.score_file(Path(__file__), "a", "mini"))
    context.queue.cancel(job.id)
    loaded = tab.show_ended(clip_sets.NEWEST, "mini", None, {"rows": []}, event(ids=[job.id]))
    assert len(loaded) == len(tab.load(clip_sets.NEWEST, "mini")) + len(tab.opened)
    assert loaded[-1] == gr.skip()


def test_an_import_does_not_take_away_the_clip_that_is_open(
    tab: ScoreTab, context: AppContext, make_clip: MakeClip
) -> None:
    mine, other = make_clip(seed=1), make_clip(seed=2)
    spec = JobSpec.score_folder(Path(video(context.workspace.uploads / "kept-0", "a.mp4")).parent, "", "motion")
    job_id = finish(context, spec, clip_ids=[other.id], unscored={}, unread={"b.mp4": "no"})
    there = tab.load(clip_sets.NEWEST, "mini")[TABLE]
    loaded = tab.show_ended(clip_sets.NEWEST, "mini", {"id": mine.id}, there, event(ids=[job_id]))
    assert loaded[TABLE]["imported"]["sentence"] == score.imported("2 uploads", 1)
    assert loaded[1]["value"] == clip_sets.NEWEST and loaded[-7]["id"] == mine.id


def test_new_scores_are_shown_though_the_open_clip_was_deleted(
    tab: ScoreTab, context: AppContext, make_clip: MakeClip
) -> None:
    gone, other = make_clip(seed=1), make_clip(seed=2)
    job_id = finish(context, JobSpec.score([other.id], "mini"), clip_ids=[other.id])
    context.store.delete([gone.id])
    context.store.forget_deleted(now() + timedelta(days=1))
    loaded = tab.show_ended(clip_sets.NEWEST, "mini", {"id": gone.id}, {"rows": []}, event(ids=[job_id]))
    assert ids(loaded[TABLE]) == [other.id] and loaded[-7] is None


def test_an_imported_clip_keeps_the_name_of_its_file(tab: ScoreTab, context: AppContext, tmp_path: Path) -> None:
    import_clip(context.store, video(tmp_path, "holiday.mp4"))
    row = tab.load(clip_sets.NEWEST, "mini")[TABLE]["rows"][0]
    assert row["file"] == row["prompt"] == "holiday.mp4"
    assert ["File", "holiday.mp4"] in tab.open(row["id"], "mini")[1]["rows"]
