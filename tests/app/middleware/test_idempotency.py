"""Every request of the page that changes something, sent twice because its answer was lost: done once.

What there is to be asked of the page is taken from the page itself: all events, all server functions, all routes. One
that is new stands in neither list here, and this test fails until somebody has said which it is, and tried it.
"""

import asyncio
import inspect
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from gradio.context import LocalContext
from gradio.helpers import special_args
from huggingface_hub import constants

from app.context import AppContext
from app.forms import saved_settings
from app.middleware.idempotency import HEADER, MARK, once
from app.page import build_page, build_server
from app.tabs.library import UNFILTERED
from app.text import labelling
from app.views.training import samples
from engine.families.lora_files import WEIGHTS_FILE
from engine.files.locks import try_lock
from engine.jobs.maintenance_configs import model_job
from engine.labelling.campaigns import Campaigns
from engine.runs.purge import move_to_trash
from engine.runs.run import Run
from tests.app.middleware.page_scene import Scene, event
from tests.snapshots import snapshot
from tests.stub_hub import TOKEN, running_hub, use_hub

# What only reads. Events by the handler's name, server functions by component and function.
READS = """
CampaignList.news CampaignPairs.open CampaignPairs.show LabelTab.list_changed CampaignSummary.pulse
CurriculumProgress.news DeviceMonitor.news GenerateTab._wire.<lambda> GenerateTab.compare GenerateTab.open_sweep
GenerateTab.apply_settings SavedSettings.saved_settings RequestForm.counted read_file shown_for GenerateTab.drawn
GenerateTab.not_drawn GenerateTab.on_tab_selected GenerateTab.resume GenerateTab.resume_keyframes
GenerateTab._wire_pictures.<lambda> GenerateTab.show_job GenerateTab.show_take GenerateTab.use_settings Header.news
Header.read_jobs Header.steps PromptHistory.recent_prompts Header.read_job_log LabelTab._wire.<lambda>
PictureFields.store offered preview LabelTab.clips_came LabelTab.follow LabelTab.offer LabelTab.see_results
LabelTab.show LabelTab.show_what LibraryTab._wire.<lambda> LibraryTab.close LibraryTab.close_comparison
LibraryTab.compare LibraryTab.find LibraryTab.open_event LibraryTab.refresh LibraryTab.show_scored LibraryTab.turn
LibraryTab.unfilter MetricCharts.compare_settings MetricCharts.news MetricCharts.points MonitorTab.follow
ModelList.ask_get ModelList.ask_remove ModelList.news MonitorTab.look MonitorTab.measured MonitorTab.move
MonitorTab.refresh RequestForm.defaults RequestForm.show_mode RequestForm.start RunList.log RunList.news
ScoreTab._wire.<lambda> ScoreTab.close ScoreTab.compare ScoreTab.load ScoreTab.load_suited ScoreTab.open_event
ScoreTab.show_ended ScoreTab.show_overlay ScoreTab.weigh SystemTab.measure_again SystemTab.refresh TrainForm.offered
TrainForm.open TrainForm.estimate TrainForm.verdicts TrainTab.clone TrainTab.on_tab_selected TrainTab.refresh
_connect_actions.<lambda> _connect_actions.label_these _connect_actions.use_adapter _connect_tabs.arrive_at
_connect_tabs.show_in_library _connect_tabs.use_settings _connect_training.show_in_train
_connect_training.train_on_votes usable Header.read_states LabelTab.prepare GenerateTab.show_ready
RequestForm.usable LabelTab.update_estimate ScoreTab.show_set
_connect_actions.clone_run
""".split()
# Routes of ours that are not for reading, and what holds them; Gradio's own lead to events and server functions.
ROUTES = {
    "/voting/next": "test_voting.py::test_the_pairs_tell_no_model",
    "/voting/vote": "test_voting.py::test_a_vote_is_stored_once_and_the_answer_names_it",
    "/voting/edit": "test_voting.py::test_an_earlier_vote_is_changed_and_history_keeps_it",
    "/voting/undo": "test_voting.py::test_undo_sent_twice_withdraws_one_vote",
    "/voting/mine": "it only reads",
    "/trackio/{path:path}": "test_monitor.py::test_trackio_is_for_looking",
}
# What changes no row and no file of the workspace: order and pause of the queue, and the hub's own files.
UNSEEN = (
    *("GenerateTab.replace", "Header.pause", "Header.go_on", "Header.move_job"),
    *("ModelList.remove", "ModelList.save_token", "ModelList.forget_token"),
)
# A second request finds the name in use: tests of learned mixes and of `dailies models add`.
REFUSE_A_NAME_IN_USE = ("CampaignSummary.learn", "ModelList.add", "WeightSliders.save_mix")
ANEW_AFTER_A_RESTART = ["LabelTab.bring_pairs"]  # the same zip comes in again under another name: nothing is lost


def built(make: Callable[[], Any]) -> Any:
    async def call() -> Any:
        return make()

    return asyncio.run(call())


def named(name: str, handler: Callable[..., Any]) -> str:
    """ "Header.cancel_job", "LabelTab.create"."""
    plain = inspect.unwrap(handler).__qualname__.replace(".<locals>", "").replace(".__init__", "")
    return f"{name}.{plain.rpartition('.')[2]}" if name else plain


def handlers(page: gr.Blocks) -> dict[str, Callable[..., Any]]:
    """All that a browser may ask of the page, by name."""
    found = {named("", one.fn): one.fn for one in page.fns.values() if one.fn is not None}
    for component in page.blocks.values():
        for name in dir(component):
            function = getattr(component, name, None)
            if getattr(function, "_is_server_fn", False):
                found[named(type(component).__name__, function)] = function
    return found


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppContext]:
    """One for all tests here, and two pages: a page takes seconds to build. Nobody takes its jobs."""
    folder = tmp_path_factory.mktemp("twice") / "workspace"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAILIES_WORKSPACE", str(folder))
        opened = AppContext.open(folder)
    lock = try_lock(opened.workspace.worker_lock)
    assert lock is not None
    yield opened
    os.close(lock)
    opened.store.close()


@pytest.fixture(autouse=True)
def its_workspace(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_WORKSPACE", str(context.workspace.root))


@pytest.fixture(autouse=True)
def its_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on loopback, an empty cache and no token: never those of the person who tests."""
    with running_hub() as hub:
        use_hub(hub, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield


@pytest.fixture(scope="module")
def pages(context: AppContext) -> tuple[gr.Blocks, gr.Blocks]:
    """A page, and the same after a restart."""
    return built(lambda: build_page(context)), built(lambda: build_page(context))


GRID = {"page": 0}
ARGUMENTS: dict[str, Callable[[Scene], list[Any]]] = {
    "GenerateTab.submit": lambda s: s.typed(),
    "GenerateTab.first_clip": lambda s: s.typed(),
    "GenerateTab.draw_keyframes": lambda s: s.typed(mode="keyframes"),
    "GenerateTab.redraw": lambda s: [s.strip(), True, event(frame=8)],
    "GenerateTab.replace": lambda s: [s.strip(), event(frame=8, path=s.picture())],
    "GenerateTab.complete": lambda s: [s.strip(), True],
    "GenerateTab.again": lambda s: [*s.typed(), event(id=s.clip().id)],
    "GenerateTab.new_seed": lambda s: ["mini", True, event(id=s.clip().id)],
    "GenerateTab.compare_base": lambda s: ["mini", True, event(id=s.clip().id)],
    "GenerateTab.save_settings": lambda s: [event(title=str(uuid.uuid4())), *s.typed()],
    "SavedSettings.delete_settings": lambda s: [saved(s)],
    "SavedSettings.restore_settings": lambda s: [saved_settings.delete(s.context, saved(s))["deleted"]["id"]],
    "GenerateTab.star": lambda s: [{"cards": [], "current": None}, event(ids=[s.clip().id], starred=True)],
    "Header.cancel_job": lambda s: [s.waiting().id],
    "Header.kill_job": lambda s: [s.running_elsewhere().id],
    "Header.retry_job": lambda s: [s.failed().id],
    "Header.move_job": lambda s: [{"id": [s.waiting(), s.waiting()][-1].id, "to": 1}],
    "Header.prioritise": lambda s: [{"id": s.waiting().id, "priority": "low"}],
    "Header.pause": lambda s: [None],
    "Header.go_on": lambda s: [s.context.queue.pause()],
    "Header.cancel_pending": lambda s: [s.waiting() and None],
    "Header.cancel_others": lambda s: [s.waiting() and None],
    "LabelTab.create": lambda s: s.campaign_form(),
    "LabelTab.make_missing": lambda s: [s.lacking().id, "mini"],
    "LabelTab.close_or_open": lambda s: [s.campaign().id, "mini", "", labelling.CLOSE_CAMPAIGN],
    "LabelTab.bring_votes": lambda s: [(one := s.campaign()).id, "mini", "", s.table(one)],
    "LabelTab.bring_pairs": lambda s: [s.archive()],
    "CampaignPairs.drop_or_restore": lambda s: dropping(s.pair()),
    "CampaignPairs.judge_pairs": lambda s: [s.campaign().id, s.judge()],
    "LibraryTab.remove": lambda s: [GRID, *UNFILTERED, event(ids=[s.clip().id])],
    "LibraryTab.undo": lambda s: [GRID, *UNFILTERED, event(ids=[deleted(s)])],
    "LibraryTab.star": lambda s: [GRID, None, *UNFILTERED, event(ids=[s.clip().id], starred=True)],
    "LibraryTab.remove_opened": lambda s: [GRID, *UNFILTERED, event(id=s.clip().id)],
    "LibraryTab.score": lambda s: [event(id=s.clip().id)],
    "LibraryTab.import_video": lambda s: [s.video(), "p", "mini"],
    "CampaignList.edit": lambda s: [
        {"id": s.campaign().id, "title": "new", "instructions": "", "keys": "7890", "target": 3}
    ],
    "CampaignList.close": lambda s: [s.campaign().id],
    "CampaignList.reopen": lambda s: [Campaigns(s.context.store).close(s.campaign().id).id],
    "CampaignList.delete": lambda s: [s.campaign().id],
    "CampaignList.restore": lambda s: [Campaigns(s.context.store).change(s.campaign().id, deleted=True).id],
    "ModelList.get": lambda s: ["wan21_1_3b"],
    "ModelList.cancel": lambda s: [s.context.queue.submit(model_job("wan22_5b")).id],
    "ModelList.remove": lambda s: ["hunyuanvideo"],
    "ModelList.save_token": lambda s: [TOKEN],
    "ModelList.forget_token": lambda s: [None],
    "MetricCharts.describe": lambda s: [{"id": s.run().id, "name": "one", "tags": ["a"], "text": ""}],
    "MetricCharts.delete_runs": lambda s: [[s.run().id]],
    "MetricCharts.restore_deleted": lambda s: [deleted_run(s)],
    "MonitorTab.sample_now": lambda s: [samples.slider(run := finished(s)), event(run=run.id)],
    "MonitorTab.measure": lambda s: [event(run=finished(s).id)],
    "TrainForm.queue": lambda s: [s.choices()],
    "TrainForm.check": lambda s: [s.choices()],
    "TrainForm.save": lambda s: [s.choices(key=f"k{uuid.uuid4().hex[:8]}")],
    "ScoreTab.score_missing": lambda s: [{"rows": [{"id": s.clip().id, "values": {}}]}, "mini"],
    "ScoreTab.star": lambda s: ["mini", None, event(id=(clip := s.clip().id), ids=[clip], starred=True)],
    "ScoreTab.draw_overlays": lambda s: [{"id": s.clip().id}, "mini"],
    "ScoreTab.import_videos": lambda s: [[s.video("a.mp4"), s.video("b.mp4")], "", "p", "mini"],
    "CurriculumProgress.go_on": lambda s: [s.curriculum().id],
    "CurriculumProgress.end": lambda s: [s.curriculum().id],
    "SystemTab.ask_torch": lambda s: [],
    "SystemTab.clean": lambda s: [None, None, event(key=deleted(s) and "deleted")],
    "SystemTab.download": lambda s: [event(key="alexnet")],
    "RunList.cancel": lambda s: [s.waiting().id],
    "RunList.kill": lambda s: [s.running_elsewhere().id],
    "RunList.resume": lambda s: [s.run().id],
    "RunList.extend": lambda s: [{"id": s.run().id, "steps": 100}],
}


def saved(scene: Scene) -> str:
    """The key of saved settings of the Generate form."""
    title = str(uuid.uuid4())
    rows = saved_settings.save(scene.context, title, {"model": "mini"})["rows"]
    return next(row["id"] for row in rows if row["title"] == title)


def dropping(table: dict[str, Any]) -> list[Any]:
    return [table, table["campaign"], "", "all", event(key=table["rows"][0]["key"])]


def deleted(scene: Scene) -> str:
    clip = scene.clip()
    scene.store.delete([clip.id])
    return clip.id


def deleted_run(scene: Scene) -> list[str]:
    run = scene.run()
    move_to_trash([run])
    return [run.id]


def finished(scene: Scene) -> Run:
    run = scene.run()
    run.adapter.mkdir()
    (run.adapter / WEIGHTS_FILE).write_bytes(b"weights")
    return run


@pytest.fixture
def scene(context: AppContext, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(context, tmp_path)
    yield made
    context.queue.resume()
    if made.worker is not None:
        made.worker.kill()
        made.worker.wait()


def ask(handler: Callable[..., Any], arguments: list[Any], key: str | None) -> Any:
    """As Gradio calls it for a request: inputs, what the event says, the request's headers. A refusal is an answer."""
    said = next((one for one in arguments if isinstance(one, gr.EventData)), None)
    inputs = [one for one in arguments if not isinstance(one, gr.EventData)]
    call, *_ = special_args(handler, list(inputs), None, said)
    token = LocalContext.request.set(SimpleNamespace(headers={HEADER: key} if key else {}))  # type: ignore[arg-type]
    try:
        answer = handler(*call)
        return list(answer)[-1] if inspect.isgenerator(answer) else answer
    except gr.Error as error:
        return {"problem": str(error)}
    finally:
        LocalContext.request.reset(token)


def refused(answer: Any) -> bool:
    return isinstance(answer, dict) and "problem" in answer


def changes(handler: Any) -> bool:
    """Whether a handler, or a function that it wraps, is marked by `once`."""
    while handler is not None and not getattr(handler, MARK, False):
        handler = getattr(handler, "__wrapped__", None) or getattr(handler, "__func__", None)
    return handler is not None


def test_each_thing_that_can_be_asked_is_known_to_read_or_to_change(pages: Any) -> None:
    found = handlers(pages[0])
    assert set(found) == {*READS, *ARGUMENTS, *REFUSE_A_NAME_IN_USE}
    assert {name for name, handler in found.items() if changes(handler)} == {*ARGUMENTS, *REFUSE_A_NAME_IN_USE}


def test_each_route_of_ours_that_is_sent_something_is_known(context: AppContext) -> None:
    server = built(lambda: build_server(context))

    def sent(routes: Any) -> Iterator[str]:
        for route in routes:
            if hasattr(route, "original_router"):  # FastAPI's place for an included router
                yield from sent(route.original_router.routes)
            elif not hasattr(route, "app") or hasattr(route, "endpoint"):
                yield from [route.path] if set(route.methods or ()) - {"GET", "HEAD"} else []

    assert set(sent(server.routes)) == set(ROUTES)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_sent_twice_it_is_done_once(pages: Any, scene: Scene, context: AppContext, name: str) -> None:
    """With the answer lost in between; also where the page was restarted in between and remembers nothing."""
    page, restarted = (handlers(one)[name] for one in pages)
    arguments, key = ARGUMENTS[name](scene), str(uuid.uuid4())
    before = snapshot(context.store)
    first = ask(page, arguments, key)
    assert not refused(first), first
    scene.settle()
    after = snapshot(context.store)
    if name not in UNSEEN:
        assert after != before, "it changes something, or this test tests nothing"
    again = ask(page, arguments, key)
    assert snapshot(context.store) == after
    assert again is first or refused(again) == refused(first)
    if name not in ANEW_AFTER_A_RESTART:
        ask(restarted, arguments, key)
        assert snapshot(context.store) == after


TWO_WINDOWS = sorted(
    set(ARGUMENTS)
    - {
        # Here the same press in another window is another wish: two clips, two campaigns, two runs.
        *("GenerateTab.submit", "GenerateTab.first_clip", "GenerateTab.draw_keyframes", "GenerateTab.redraw"),
        *(
            "GenerateTab.complete",
            "GenerateTab.again",
            "GenerateTab.new_seed",
            "GenerateTab.compare_base",
            "LabelTab.create",
            "LabelTab.bring_pairs",
        ),
        *("LibraryTab.score", "TrainForm.queue", "ScoreTab.score_missing"),
    }
)


@pytest.mark.parametrize("name", TWO_WINDOWS)
def test_pressed_in_two_windows_it_is_done_once(pages: Any, scene: Scene, context: AppContext, name: str) -> None:
    handler, arguments = handlers(pages[0])[name], ARGUMENTS[name](scene)
    ask(handler, arguments, str(uuid.uuid4()))
    scene.settle()
    after = snapshot(context.store)
    ask(handler, arguments, str(uuid.uuid4()))  # refused, or nothing to do
    assert snapshot(context.store) == after


def test_a_request_that_comes_again_while_it_is_answered_waits_for_the_answer() -> None:
    entered, go_on, counted = threading.Event(), threading.Event(), []

    @once
    def slow(value: int) -> int:
        counted.append(value)
        entered.set()
        assert go_on.wait(30)
        return value

    def in_thread(found: list[Any]) -> threading.Thread:
        thread = threading.Thread(target=lambda: found.append(ask(slow, [7], "the-same-key")))
        thread.start()
        return thread

    answers: list[Any] = []
    first = in_thread(answers)
    assert entered.wait(30)
    second = in_thread(answers)
    go_on.set()
    for thread in (first, second):
        thread.join(30)
    assert answers == [7, 7] and counted == [7]
    assert [ask(slow, [7], None) for _ in range(2)] == [7, 7] and counted == [7, 7, 7]  # without a key: each time


def test_a_refusal_is_the_answer_too() -> None:
    counted = []

    @once
    def refuses() -> None:
        counted.append(1)
        raise gr.Error("no")

    assert [refused(ask(refuses, [], "a-key-of-one")) for _ in range(2)] == [True, True] and counted == [1]


def test_the_key_comes_with_the_request(context: AppContext, scene: Scene) -> None:
    """Over HTTP, as a browser sends a server function."""
    server = built(lambda: build_server(context))
    client = TestClient(server, base_url="http://127.0.0.1")
    config = client.get("/config").json()
    form = next(one for one in config["components"] if one["props"].get("elem_id") == "train-form")
    body = {"data": scene.choices(), "component_id": form["id"], "fn_name": "queue", "session_hash": "abc"}
    count = len(context.queue.list(kind="train"))
    keys = [str(uuid.uuid4())] * 2 + [str(uuid.uuid4())]
    replies = [client.post("/gradio_api/component_server/", json=body, headers={HEADER: key}) for key in keys]
    assert [reply.status_code for reply in replies] == [200] * 3
    runs = [reply.json()["run"] for reply in replies]
    assert runs[0] == runs[1] != runs[2] and len(context.queue.list(kind="train")) == count + 2
