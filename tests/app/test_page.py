"""The page as a Gradio configuration, and its handlers, without a browser."""

import asyncio
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fastapi.testclient import TestClient
from gradio.queueing import Queue
from PIL import Image
from starlette.routing import Mount

from app.context import AppContext
from app.forms.adapter_fields import OfferedAdapter, shown
from app.forms.generation_form import FIELDS, draw_seed
from app.forms.mode_fields import MODE_FIELDS, shown_mode
from app.forms.preset_choices import model_choices
from app.page import EVENT_POLL_S, HERE, build_page, build_server
from app.tabs.generate import GenerateTab
from app.tabs.library import LibraryTab
from app.text import general
from app.theme import page_theme
from engine.errors import ConfigError, MediaError, StoreError
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.spec import Job, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan
from engine.runs.adapters import AdapterCard, write_card
from engine.storage.images import load_picture
from engine.storage.library import ClipRecord
from engine.video.writer import write_mp4

MakeClip = Callable[..., ClipRecord]


pytestmark = pytest.mark.usefixtures("no_worker")


def built(make: Callable[[], Any]) -> Any:
    """Call `make` in a running event loop: without one, Gradio creates a loop and leaves it open."""

    async def call() -> Any:
        return make()

    return asyncio.run(call())


@pytest.fixture
def tabs(context: AppContext) -> tuple[GenerateTab, LibraryTab]:
    def make() -> tuple[GenerateTab, LibraryTab]:
        with gr.Blocks(), gr.Tab("Library") as tab:
            return GenerateTab(context, tab), LibraryTab(context, tab)

    return built(make)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def typed(**changes: Any) -> list[Any]:
    form = dict.fromkeys(FIELDS, "")
    form |= {"prompt": "a red circle", "model": "mini", "num_frames": 33, "num_steps": 20, "guidance": 3.0, "width": 64}
    form |= dict(zip(MODE_FIELDS, shown_mode(GenerationRequest(prompt="any")), strict=True))
    form |= {"height": 64, "fps": 8.0, "seed": "5", "keep_seed": False, "takes": 2, "mix": "mini"}
    return list({**form, **changes}.values())


# ---- The configuration of Gradio
def test_nothing_of_the_page_is_a_public_api_or_holds_a_connection(context: AppContext) -> None:
    config = built(lambda: build_page(context).get_config_file())
    assert config["connect_heartbeat"] is False
    assert {dependency["api_visibility"] for dependency in config["dependencies"]} == {"private"}
    assert "state" not in {component["type"] for component in config["components"]}
    assert "timer" not in {component["type"] for component in config["components"]}


def test_an_idle_server_seldom_looks_for_events(context: AppContext) -> None:
    """The period is a private attribute of Gradio's queue, which must still wait for as long as it says."""
    assert "asyncio.sleep(self.sleep_when_free)" in inspect.getsource(Queue.start_processing)
    pages = [route.app for route in built(lambda: build_server(context)).routes if isinstance(route, Mount)]
    assert [page.get_blocks()._queue.sleep_when_free for page in pages] == [EVENT_POLL_S] * 2


def test_nothing_comes_from_another_host(context: AppContext) -> None:
    sources = [path.read_text() for path in HERE.rglob("*") if path.suffix in (".css", ".js", ".html")]
    assert len(sources) > 10
    addresses = [found for source in sources for found in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", source)]
    assert addresses == []
    theme = page_theme()
    assert re.findall(r"""url\((?!["']?data:)""", theme._get_theme_css()) == [] and theme._stylesheets == []


def test_files_of_the_disk_have_no_address(context: AppContext) -> None:
    client = TestClient(built(lambda: build_server(context)), base_url="http://127.0.0.1")
    for path in (context.workspace.database, "/etc/passwd", HERE / "shell.py"):
        for route in ("/gradio_api/file=", "/file="):
            assert client.get(f"{route}{path}").status_code in (403, 404), path
    assert client.get("/openapi.json").status_code == 404


def test_templates_hold_no_place_for_what_a_person_typed() -> None:
    """Gradio evaluates `{{...}}` and `${...}` in a template as code: only our own words may stand there."""
    for path in [*HERE.rglob("*.html"), *(HERE / "components").glob("*.css")]:
        source = path.read_text()
        assert "${" not in source and "`" not in source and "\\" not in source, path.name
        assert all(slot.startswith("words.") for slot in re.findall(r"{{(.*?)}}", source)), path.name


# ---- Generate
def test_submitting_files_a_job_and_moves_the_seed_on(tabs: Any, context: AppContext) -> None:
    strip, seed, problem = tabs[0].submit(*typed())
    (job,) = context.queue.list()
    assert [request["seed"] for request in job.config["requests"]] == [5, 6] and job.config["mix"] == "mini"
    assert strip["active"] == [job.id]
    assert seed != "5" and problem is None


def test_a_kept_seed_stays(tabs: Any) -> None:
    assert tabs[0].submit(*typed(keep_seed=True))[1] == "5"


def test_what_will_not_do_files_nothing(tabs: Any, context: AppContext) -> None:
    strip, seed, problem = tabs[0].submit(*typed(prompt=" "))
    assert (problem["field"], problem["sentence"], seed) == ("prompt", "Enter a prompt.", "5")
    assert tabs[0].draw_keyframes(*typed(width=70))[1]["field"] == "width"
    assert context.queue.list() == [] and strip["active"] == []


def test_a_prompt_that_is_not_read_to_its_end_is_filed_with_a_warning(tabs: Any, context: AppContext) -> None:
    with pytest.warns(UserWarning, match="longer than the model reads.*The clip is generated without it"):
        tabs[0].submit(*typed(prompt="star " * 200))
    assert len(context.queue.list()) == 1


def test_an_adapter_of_the_model_can_be_asked_for(tabs: Any, context: AppContext) -> None:
    folder = context.workspace.adapters / "run-2"
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"weights")
    write_card(folder, AdapterCard(model="mini"))
    offered = dict(zip(FIELDS, tabs[0].form.start(), strict=True))["adapters"]
    assert offered["names"] == ["run-2"]
    tabs[0].submit(*typed(adapters=shown({"run-2": OfferedAdapter("run-2")}, [("run-2", 1)])))
    assert context.queue.list()[0].config["requests"][0]["adapter"] == "run-2"
    problem = tabs[0].submit(*typed(adapters=shown({}, [("run-3", 1)])))[-1]
    assert "Unknown adapter 'run-3'" in problem["sentence"] and problem["field"] == "adapters"


def test_what_came_since_is_offered_when_generate_is_opened(tabs: Any, context: AppContext) -> None:
    models, offered, strip, *buttons = tabs[0].on_tab_selected("mini", shown({}))
    assert [button["interactive"] for button in buttons] == [True, True]
    assert offered == shown({}) and strip["active"] == []
    assert models["choices"] == model_choices() and "value" not in models
    folder = context.workspace.adapters / "run-2"
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"0")
    write_card(folder, AdapterCard(model="mini"))
    job = context.queue.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")], None))
    _, offered, strip, *_ = tabs[0].on_tab_selected("mini", shown({}, [("gone", 0.5)]))
    assert offered == shown({"run-2": OfferedAdapter("run-2")}, [("gone", 0.5)]), "what is chosen stays"
    assert strip["active"] == [job.id]


def test_a_starred_take_stays_in_sight(tabs: Any, context: AppContext, make_clip: MakeClip) -> None:
    ids = [make_clip(seed=seed).id for seed in (1, 2)]
    outputs = tabs[0].star(tabs[0]._show({}, ids, ids[1])[-1], event(ids=[ids[1]], starred=True))
    assert shown_ids(outputs) == ids[1:] and [card["starred"] for card in outputs[-1]["cards"]] == [False, True]
    alone = tabs[0].star({"cards": [], "current": ids[1]}, event(ids=[ids[1]], starred=False))
    assert shown_ids(alone) == ids[1:] and not context.store.clip(ids[1]).starred


def test_again_takes_the_seed_of_the_clip_and_the_rest_from_the_form(
    tabs: Any, context: AppContext, make_clip: MakeClip
) -> None:
    record = make_clip(seed=2**62 + 1)
    tabs[0].again(event(id=record.id), *typed(prompt="a blue star"))
    (request,) = context.queue.list()[0].config["requests"]
    assert (request["seed"], request["prompt"]) == (2**62 + 1, "a blue star")


def test_new_seed_keeps_the_request(tabs: Any, context: AppContext, make_clip: MakeClip) -> None:
    record = make_clip(prompt="a green cross", num_frames=17, seed=4)
    tabs[0].new_seed("", True, event(id=record.id))
    job = context.queue.list()[0]
    (request,) = job.config["requests"]
    assert {**request, "seed": 4} == record.request and request["seed"] != 4
    assert job.config["mix"] is None


def test_the_newest_finished_takes_are_there_when_the_page_opens(
    tabs: Any, context: AppContext, make_clip: MakeClip
) -> None:
    assert shown_ids(tabs[0].resume()[1:]) == []
    tabs[0].submit(*typed())
    job = context.queue.claim(ProcessIdentity.current())
    ids = [make_clip(seed=seed).id for seed in (5, 6)]
    context.queue.finish(job.id, "done", result={"clip_ids": ids})
    outputs = tabs[0].resume()[1:]
    assert shown_ids(outputs) == ids[:1]
    assert [card["id"] for card in outputs[-1]["cards"]] == ids
    assert shown_ids(tabs[0].show_take(outputs[-1], event(id=ids[1]))) == ids[1:]
    assert shown_ids(tabs[0].compare(outputs[-1], event(ids=ids))) == ids
    assert shown_ids(tabs[0].show_job(outputs[-1], event(ids=[job.id]))) == ids[:1]


def shown_ids(outputs: list[Any]) -> list[str]:
    """Return the clips in the player of `GenerateTab.outputs`."""
    return [clip["id"] for clip in outputs[2]["clips"]]


def test_a_clips_settings_fill_the_form(tabs: Any, make_clip: MakeClip) -> None:
    record = make_clip(prompt="a cross", num_frames=65, seed=2**60 + 1)
    updates = dict(zip(FIELDS, tabs[0].fill(record), strict=False))
    assert updates["prompt"] == "a cross" and updates["num_frames"]["value"] == 65
    assert (updates["seed"], updates["keep_seed"]) == (str(2**60 + 1), True)


# ---- Keyframes
def keyframes_drawn(context: AppContext) -> Job:
    """A finished job that drew five keyframes."""
    request = GenerationRequest(prompt="a cross", mode="keyframes", seed=3)
    job = context.queue.submit(JobSpec.keyframes(request, "mini"))
    context.queue.claim(ProcessIdentity.current())
    kept = [{"frame": frame, "picture": f"{frame:064x}"} for frame in range(0, 33, 8)]
    context.queue.finish(job.id, "done", result={"keyframes": kept})
    return context.queue.get(job.id)


def test_keyframes_are_shown_until_their_clip_is_ordered(tabs: Any, context: AppContext) -> None:
    job = keyframes_drawn(context)
    panel, shown = tabs[0].drawn(None, event(ids=[job.id]))
    assert panel["visible"] and [card["frame"] for card in shown["cards"]] == [0, 8, 16, 24, 32]
    assert tabs[0].resume_keyframes()[1] == shown  # after a reload
    _, panel, left = tabs[0].complete(shown, True)
    (submitted,) = context.queue.list("queued", "generate")
    (request,) = (GenerationRequest(**one) for one in submitted.config["requests"])
    assert left is None and not panel["visible"] and submitted.config["mix"] == "mini" and submitted.config["preview"]
    assert request.keyframes and request.keyframes.source == "given" and request.seed == 3
    assert [keyframe.picture for keyframe in request.keyframes.given] == [f"{f:064x}" for f in range(0, 33, 8)]


def test_one_keyframe_is_drawn_again_among_the_others(tabs: Any, context: AppContext) -> None:
    _, shown = tabs[0].drawn(None, event(ids=[keyframes_drawn(context).id]))
    tabs[0].redraw(shown, True, event(frame=16))
    (submitted,) = context.queue.list("queued", "keyframes")
    request = GenerationRequest(**submitted.config["request"])
    assert request.seed != 3 and request.keyframes
    assert [keyframe.frame for keyframe in request.keyframes.given] == [0, 8, 24, 32]


def test_a_picture_takes_the_place_of_a_keyframe(
    tabs: Any, context: AppContext, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.components.keyframe_editor.get_upload_folder", lambda: str(tmp_path))
    Image.new("RGB", (300, 200), (200, 30, 30)).save(tmp_path / "red.png")
    _, shown = tabs[0].drawn(None, event(ids=[keyframes_drawn(context).id]))
    _, changed = tabs[0].replace(shown, event(frame=8, path=str(tmp_path / "red.png")))
    before, after = ([card["picture"] for card in strip["cards"]] for strip in (shown, changed))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True, True]
    assert load_picture(context.workspace, after[1]).shape == (64, 64, 3)
    (tmp_path / "none.png").write_text("no picture")
    with pytest.raises(StoreError, match="cannot be read as a picture"):
        tabs[0].replace(shown, event(frame=8, path=str(tmp_path / "none.png")))
    with pytest.raises(ConfigError, match="was not uploaded"):
        tabs[0].replace(shown, event(frame=8, path="/etc/hostname"))


def test_a_clip_of_given_keyframes_brings_them_back(tabs: Any, make_clip: MakeClip) -> None:
    plan = KeyframePlan(source="given", given=(GivenKeyframe(frame=0, picture="0" * 64),))
    record = make_clip(mode="keyframes", keyframes=plan)
    panel, shown = tabs[0].fill(record)[-2:]
    assert panel["visible"] and shown["cards"][0]["picture"] == "0" * 64
    assert tabs[0].fill(make_clip(seed=1))[-1] is None


def test_an_imported_clip_has_no_settings(tabs: Any) -> None:
    with pytest.raises(StoreError, match="was imported"):
        tabs[0].fill(ClipRecord(id="0" * 16, prompt="", source="imported", num_frames=9, width=64, height=48, fps=25.0))


def test_several_adapters_fill_the_form_with_their_strengths(tabs: Any, make_clip: MakeClip) -> None:
    record = make_clip(adapters=[{"name": "film", "scale": 0.8}, {"name": "motion"}])
    assert record.adapter == "film 0.8 + motion 1"
    updates = dict(zip(FIELDS, tabs[0].fill(record), strict=False))
    rows = [{"name": "film", "scale": 0.8}, {"name": "motion", "scale": 1.0}]
    assert updates["adapters"] == {"names": [], "titles": {}, "triggers": {}, "rows": rows}


def test_a_rolled_seed_fits_the_form() -> None:
    assert str(draw_seed()).isdigit()


# ---- Library
def test_clips_are_removed_and_come_back(tabs: Any, context: AppContext, make_clip: MakeClip) -> None:
    library, ids = tabs[1], [make_clip(seed=seed).id for seed in range(3)]
    grid = library.find(*library.unfiltered)
    left = library.remove(event(ids=ids[:2]), grid, *library.unfiltered)
    assert [card["id"] for card in left["cards"]] == ids[2:] and left["undo"]["ids"] == ids[:2]
    back = library.undo(event(ids=ids[:2]), left, *library.unfiltered)
    assert len(back["cards"]) == 3 and back["undo"] is None


def test_stars_are_put_on_in_the_grid_and_where_a_clip_is_open(tabs: Any, make_clip: MakeClip) -> None:
    library, ids = tabs[1], [make_clip(seed=seed).id for seed in range(3)]
    grid, opened = library.find(*library.unfiltered), library.open(ids[0])[1]
    grid, facts = library.star(event(ids=[ids[0]], starred=True), grid, opened, *library.unfiltered)
    assert facts["starred"] and [key for key, label, _ in facts["actions"] if label == "Remove star"] == ["star_clip"]
    assert library.star(event(ids=[ids[1]], starred=True), grid, None, *library.unfiltered)[1] is None
    starred = [*library.unfiltered[:-1], True]
    assert {card["id"] for card in library.find(*starred)["cards"]} == set(ids[:2])
    grid, _ = library.star(event(ids=[ids[1]], starred=False), grid, facts, *starred)
    assert [card["id"] for card in grid["cards"]] == ids[:1]


def test_an_opened_clip_is_removed_and_closed(tabs: Any, make_clip: MakeClip) -> None:
    library, record = tabs[1], make_clip()
    assert library.open(record.id)[0]["visible"] is True
    grid, column, *_ = library.remove_opened(
        event(id=record.id), library.find(*library.unfiltered), *library.unfiltered
    )
    assert grid["cards"] == [] and column["visible"] is False


def test_opening_a_clip_that_is_gone_is_a_sentence(tabs: Any) -> None:
    with pytest.raises(StoreError, match="There is no clip"):
        tabs[1].open("0" * 16)


def test_scoring_again_uses_the_mix_that_did_it_before(tabs: Any, context: AppContext, make_clip: MakeClip) -> None:
    record = make_clip()
    tabs[1].score(event(id=record.id))
    assert context.queue.list()[0].config["mix"] == "mini"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.mp4", b"", "is empty"),
        ("words.mp4", b"this is no video at all" * 50, "not a video that can be read"),
    ],
)
def test_a_bad_upload_is_refused_at_once(
    tabs: Any, context: AppContext, tmp_path: Any, name: str, content: bytes, sentence: str
) -> None:
    upload = tmp_path / name
    upload.write_bytes(content)
    with pytest.raises(MediaError, match=sentence):
        tabs[1].import_video(str(upload), "", "mini")
    assert context.queue.list() == []


def test_an_upload_is_moved_to_a_place_of_its_own(tabs: Any, context: AppContext) -> None:
    upload = context.workspace.uploads / "c0ffee" / "clip.mp4"
    upload.parent.mkdir(parents=True)
    write_mp4(upload, np.zeros((9, 64, 64, 3), np.uint8), 8.0)
    tabs[1].import_video(str(upload), "nothing", "mini")
    (job,) = context.queue.list()
    kept = Path(job.config["path"])
    assert kept.is_file() and not upload.exists() and kept.parent.parent == context.workspace.uploads


def test_importing_nothing_is_a_sentence(tabs: Any) -> None:
    with pytest.raises(ConfigError, match=general.NOTHING_TO_IMPORT):
        tabs[1].import_video(None, "", "mini")


def test_values_are_json(tabs: Any, make_clip: MakeClip) -> None:
    make_clip(prompt="<script>alert(1)</script> ${alert(2)} {{words}}")
    value = tabs[1].find(*tabs[1].unfiltered)
    assert json.loads(json.dumps(value)) == value
