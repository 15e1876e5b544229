"""The page as a whole: its header and tabs, how they hang together, and the server that carries it."""

from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.routing import Mount

from app.api.documentation import documentation_routes
from app.api.exports import export_routes
from app.api.media import media_routes
from app.api.votes import voting_routes
from app.auth.login import LABEL_PAGE, AuthMiddleware
from app.auth.users import Users
from app.components.base import Component
from app.components.clips import VotingPanel
from app.components.header import Header
from app.context import AppContext
from app.events import bind
from app.forms.kept_form import begin_js, read_js
from app.middleware.body_limits import BodyLimit
from app.middleware.error_responses import silent
from app.middleware.event_streams import EventStreams
from app.middleware.gradio_guard import GradioGuard, enforce
from app.middleware.origin_check import Reach, SameOrigin
from app.middleware.page_head import PageHead
from app.middleware.proxy_headers import ForwardedHeaders
from app.middleware.security_headers import SafeHeaders
from app.middleware.stream_limits import StreamLimit
from app.modules import module_routes, page_head
from app.tabs.generate import STAGE, GenerateTab
from app.tabs.label import LabelTab
from app.tabs.library import LibraryTab
from app.tabs.monitor import MonitorTab
from app.tabs.score import ScoreTab
from app.tabs.system import SystemTab
from app.tabs.train import TrainTab
from app.text import general, labelling, system, training
from app.text import monitor as text_monitor
from app.theme import page_theme
from app.trackio_dashboard import trackio_routes
from app.views.campaigns import train_form
from engine.labelling.assignment import was_assigned

HERE = Path(__file__).parent
PATHS = ("/", LABEL_PAGE)  # of the addresses of pages: behind a proxy that adds a path, little of a page would work
MAX_UPLOAD = 2 * 2**30  # bytes of one file
EVENT_POLL_S = 0.02  # Gradio's own 1 ms keeps an idle server at 6 % of a core


def build_page(context: AppContext) -> gr.Blocks:
    """Build header and tabs.

    The page uses no gr.State and no unload or stream events: each would keep one of a browser's six connections open.
    """
    with gr.Blocks(title=general.TITLE, analytics_enabled=False, fill_width=True) as page:
        header = Header(context)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(general.GENERATE, id="generate", elem_id="generate-tab") as generate_tab:
                generate = GenerateTab(context, generate_tab)
            with gr.Tab(general.SCORE, id="score", elem_id="score-tab") as score_tab:
                score = ScoreTab(context, score_tab)
            with gr.Tab(labelling.LABEL, id="label", elem_id="label-tab") as label_tab:
                label = LabelTab(context, label_tab)
            with gr.Tab(general.LIBRARY, id="library", elem_id="library-tab") as library_tab:
                library = LibraryTab(context, library_tab)
            with gr.Tab(training.TRAIN, id="train", elem_id="train-tab") as train_tab:
                train = TrainTab(context, train_tab)
            with gr.Tab(text_monitor.MONITOR, id="monitor", elem_id="monitor-tab") as monitor_tab:
                monitor = MonitorTab(context, monitor_tab)
            with gr.Tab(system.SYSTEM, id="system", elem_id="system-tab") as system_tab:
                SystemTab(context, system_tab)
        _connect_tabs(page, header, tabs, generate, score, library)
        _connect_training(context, tabs, label, train)
        _connect_actions(header, tabs, generate, score, label, library, train, monitor)
    return page


def _connect_tabs(
    page: gr.Blocks, header: Header, tabs: gr.Tabs, generate: GenerateTab, score: ScoreTab, library: LibraryTab
) -> None:
    """Connect events of one tab with outputs of another, and load the page's initial state."""
    store = generate.context.store

    def use_settings(event: gr.EventData) -> list[Any]:
        return [gr.update(selected="generate"), *generate.fill(store.clip(event.id))]

    def show_in_library(event: gr.EventData) -> list[Any]:
        return [gr.update(selected="library"), *library.refresh(*library.unfiltered), *library.open(event.id)]

    def arrive_at(event: gr.EventData) -> dict[str, Any]:
        tab_ids = {tab.id for tab in tabs.children if isinstance(tab, gr.Tab)}
        return gr.update(selected=event.tab) if event.tab in tab_ids else gr.skip()

    in_library = [tabs, *library.shown, *library.opened]
    bind(library.facts.use_settings, use_settings, None, [tabs, *generate.filled])
    bind(generate.facts.show_in_library, show_in_library, None, in_library)
    bind(score.facts.show_in_library, show_in_library, None, in_library)
    bind(page.load, generate.resume, None, [generate.jobs, *generate.outputs], line=STAGE)
    bind(header.arrive_sweep, generate.open_sweep, None, generate.outputs, line=STAGE)
    bind(page.load, generate.resume_keyframes, None, generate.keyframe_outputs)
    form = generate.form
    # The script's answer takes the place of the prompt: what the browser saved of the form.
    opened = bind(page.load, form.start, form.fields["prompt"], form.inputs, js=read_js())
    opened.then(None, None, None, js=begin_js(), api_visibility="private")
    fields = [form.fields[name] for name in ("mode", "model", "num_frames")]
    bind(opened.then, form.show_mode, fields, form.by_mode)
    bind(opened.then, form.counted, form.inputs, form.count)
    bind(opened.then, form.usable, form.fields["model"], form.by_model)
    bind(header.arrive, show_in_library, None, in_library)
    bind(header.arrive_at, arrive_at, None, tabs)


def _connect_training(context: AppContext, tabs: gr.Tabs, label: LabelTab, train: TrainTab) -> None:
    """Connect Label's buttons with Train: they open the form for the campaign."""

    def show_in_train(campaign_id: str | None) -> list[Any]:
        return [gr.update(selected="train"), train_form(context, campaign_id)]

    def train_on_votes(event: gr.EventData) -> list[Any]:
        return show_in_train(event.id)

    bind(label.train.click, show_in_train, label.campaign, [tabs, train.form])
    bind(label.voting.train_on_votes, train_on_votes, None, [tabs, train.form])


def _connect_actions(
    header: Header,
    tabs: gr.Tabs,
    generate: GenerateTab,
    score: ScoreTab,
    label: LabelTab,
    library: LibraryTab,
    train: TrainTab,
    monitor: MonitorTab,
) -> None:
    """Connect the buttons that lead to other tabs: label clips, open a run, use its adapter, first steps."""

    def label_these(event: gr.EventData) -> list[Any]:
        return [gr.update(selected="label"), *label.begin_with(event.ids)]

    def use_adapter(event: gr.EventData) -> list[Any]:
        return [gr.update(selected="generate"), *generate.use_adapter(event.run)]

    def clone_run(event: gr.EventData) -> list[Any]:
        return [gr.update(selected="train"), train.clone(event)]

    def go(tab: str) -> dict[str, Any]:
        return gr.update(selected=tab)

    for clips in (generate.takes, library.grid, score.table):
        bind(clips.label_these, label_these, None, [tabs, *label.of_chosen])
    for run in (train.board, monitor.slider):
        bind(run.use_adapter, use_adapter, None, [tabs, *generate.form.settings])
    bind(header.clone_run, clone_run, None, [tabs, train.form])
    bind(train.board.watch_run, lambda: go("monitor"), None, tabs)
    bind(
        generate.welcome.import_clips,
        lambda: [go("library"), gr.update(visible=True)],
        None,
        [tabs, library.import_panel],
    )
    bind(generate.welcome.new_campaign, lambda: [go("label"), go("new")], None, [tabs, label.views])


def build_voting_page() -> gr.Blocks:
    """Build the page for labellers: the voting panel alone, without Gradio events or uploads."""
    with gr.Blocks(title=general.TITLE, analytics_enabled=False, fill_width=True) as page:
        VotingPanel("label-desk", offers_new=False)
    return page


def build_server(context: AppContext, users: Users | None = None, reach: Reach | None = None) -> FastAPI:
    """Build the FastAPI application with all pages and routes. Without `users` there is no login.

    `reach` has the addresses that browsers use.
    """
    server = FastAPI(title=general.TITLE, docs_url=None, redoc_url=None, openapi_url=None)
    server.include_router(module_routes())
    for routes in (media_routes, voting_routes, export_routes):
        server.include_router(routes(context))
    server.include_router(trackio_routes(context.workspace))
    server.include_router(documentation_routes())
    server.add_api_route(LABEL_PAGE.rstrip("/"), lambda: RedirectResponse(LABEL_PAGE, 307), methods=["GET"])
    silent(server)
    server.add_middleware(StreamLimit)
    # The last one added is the first to see a request.
    server.add_middleware(BodyLimit)
    if users is not None:
        server.add_middleware(
            AuthMiddleware, users=users, given=lambda name, assignment: was_assigned(context.store, name, assignment)
        )
    server.add_middleware(SameOrigin, reach=reach or Reach(), has_login=users is not None)
    server.add_middleware(ForwardedHeaders, reach=reach or Reach())
    server.add_middleware(SafeHeaders)
    _mount(server, build_voting_page(), LABEL_PAGE.rstrip("/"))
    return _mount(server, build_page(context), "/")


def _mount(server: FastAPI, page: gr.Blocks, path: str) -> FastAPI:
    gr.mount_gradio_app(
        server,
        page,
        path=path,
        theme=page_theme(),
        css_paths=[HERE / "page.css"],
        footer_links=[],
        root_path="",
        allowed_paths=[],
        show_error=False,
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        max_file_size=MAX_UPLOAD,
    )
    page._queue.sleep_when_free = EVENT_POLL_S
    enforce(page)
    mounted: Any = next(route.app for route in reversed(server.routes) if isinstance(route, Mount))
    silent(mounted)
    mounted.add_middleware(EventStreams, page=page)
    mounted.add_middleware(GradioGuard, page=page, max_file_size=MAX_UPLOAD)
    used = {block.module for block in page.blocks.values() if isinstance(block, Component)}
    mounted.add_middleware(PageHead, head=page_head(used, PATHS))
    return server
