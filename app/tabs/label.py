"""The Label tab: voting on pairs of clips, the results of a campaign, and new campaigns."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from app.components.campaign_pairs import CampaignPairs
from app.components.campaigns import CampaignList, CampaignSummary
from app.components.clips import VotingPanel
from app.components.job_queue import JobWatch
from app.context import AppContext
from app.events import bind, show_info, show_warning
from app.forms.field_problem import FieldProblem
from app.forms.generation_form import MAX_VARIATIONS
from app.forms.preset_choices import default_choice, default_mix, mix_choices, model_choices
from app.middleware.idempotency import once, request_key
from app.text import labelling as text
from app.text import models as text_models
from app.text.help import icon
from app.views import campaigns as view
from app.views import clip_sets
from app.views.jobs import watched_jobs
from engine.errors import ConfigError
from engine.jobs.handlers.campaign_clips import create_campaign, file_missing
from engine.jobs.worker_control import ensure_worker
from engine.labelling.campaign_spec import AXES, Campaign
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_archives import import_archive
from engine.labelling.vote_csv import import_votes
from engine.request import GenerationRequest

KIND = "generate"
RESULTS = "label-results"  # the line of the events that fill the results


class LabelTab:
    """The tab; `app.page` connects the button `train` and the `campaign` id with the Train tab."""

    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context, self.campaigns = context, Campaigns(context.store)
        self.results = view.ResultsKeeper(context)
        self.jobs = JobWatch("label-jobs", KIND, line=False, campaigns=True)
        with gr.Tabs(elem_id="label-views") as self.views:
            with gr.Tab(text.VOTE, id="vote"):
                self.voting = VotingPanel("label-desk")
            with gr.Tab(text.RESULTS, id="results") as self.results_tab:
                self._results()
            with gr.Tab(text.CAMPAIGNS, id="campaigns"), gr.Column(elem_classes="desk-panel"):
                self.list = CampaignList("label-campaigns", self.context)
            with gr.Tab(text.PAIRS, id="pairs") as pairs_tab:
                self.pairs = CampaignPairs(self.context, pairs_tab, self._choices)
            with gr.Tab(text.NEW, id="new") as self.new_tab, gr.Column(elem_classes=["desk-panel", "campaign-form"]):
                self._form()
        self._wire(tab)

    # ---- Layout
    def _results(self) -> None:
        with gr.Row(elem_classes=["desk-panel", "tight"]):
            self.campaign = gr.Dropdown(self._choices(), label=text.CAMPAIGN, min_width=260, elem_id="label-campaign")
            mixes = mix_choices()[:-1]
            self.results_mix = gr.Dropdown(mixes, value=default_mix(mixes), label=text.MIX, min_width=160)
            whole = [(text.OVERALL, view.OVERALL)]
            self.axis = gr.Dropdown(
                whole, value=view.OVERALL, label=text.JUDGED, min_width=150, visible=False, elem_id="label-axis"
            )
            buttons = {"size": "md", "scale": 0, "min_width": 100, "elem_classes": ["beside-label", "one-line"]}
            self.make = gr.Button(text.MAKE_MISSING, **buttons)
            self.close = gr.Button(text.CLOSE_CAMPAIGN, **buttons)
            self.train = gr.Button(text.TRAIN, variant="primary", elem_id="train-on-these", **buttons)
        with gr.Column(elem_classes="desk-panel"):
            self.sheet = CampaignSummary("label-sheet", self.context)
            with gr.Row(elem_classes="tight"):
                into = {"size": "sm", "scale": 0, "min_width": 200}
                self.votes_in = gr.UploadButton(text.IMPORT_VOTES, file_types=[".csv"], elem_id="import-votes", **into)
                self.pairs_in = gr.UploadButton(text.IMPORT_PAIRS, file_types=[".zip"], elem_id="import-pairs", **into)
        with gr.Row(elem_classes="watch", equal_height=False, visible=False) as self.plots:
            with gr.Column(elem_classes="desk-panel") as self.ranked:
                hint = text.RANKING_HINT.format(confidence=0.95)
                self.ranking = _plot("label-ranking", text.RANKING, hint, "Bradley-Terry")
                self.wins = _plot("label-wins", text.WINS, text.WINS_HINT, "Entrant")
            with gr.Column(elem_classes="desk-panel") as self.judged:
                self.rewards = _plot("label-rewards", text.REWARDS, text.REWARDS_HINT, "Reward")

    def _form(self) -> None:
        clips = [(text.WHAT_MADE, view.MADE), (text.WHAT_CLIPS, view.CLIPS)]
        title = gr.Textbox(label=text.TITLE, placeholder=text.TITLE_HINT, max_lines=1, elem_id="campaign-title")
        what = gr.Radio(clips, value=view.MADE, label=text.WHAT, elem_id="campaign-what")
        with gr.Column() as self.of_models:
            self.models = model_choices()
            first = default_choice(self.models, GenerationRequest.model_fields["model"].default)
            prompts = gr.Textbox(label=text.PROMPTS, lines=3, max_lines=12, elem_id="campaign-prompts")
            entrants = gr.Dropdown(
                view.entrant_choices(self.context, self.models),
                value=[first] if first else [],
                multiselect=True,
                label=text.ENTRANTS,
                info=text.ENTRANTS_HINT,
                elem_id="campaign-entrants",
            )
            gr.HTML(f'<p class="hint-left">{text_models.LINK}</p>', elem_classes="models-link", padding=False)
            with gr.Row(elem_classes="tight"):
                takes = gr.Slider(
                    1,
                    MAX_VARIATIONS,
                    value=2,
                    step=1,
                    buttons=[],
                    label=text.CLIPS_PER_PROMPT,
                    elem_id="campaign-takes",
                )
                frames = gr.Number(0, minimum=0, precision=0, label=text.FRAMES, elem_id="campaign-frames")
                mixes = mix_choices()
                self.mix = gr.Dropdown(mixes, value=default_choice(mixes, first or ""), label=text.MIX)
        with gr.Column(visible=False) as self.of_clips:
            which = gr.Dropdown(
                clip_sets.choices(self.context),
                value=clip_sets.NEWEST,
                label=text.WHICH,
                info=text.WHICH_HINT,
                elem_id="campaign-which",
            )
        with gr.Row(elem_classes="tight"):
            per_pair = gr.Number(1, minimum=1, maximum=100, precision=0, label=text.PER_PAIR, elem_id="campaign-people")
            target = gr.Number(0, minimum=0, precision=0, label=text.TARGET, elem_id="campaign-target")
            ways = [(label, key) for key, label in text.STRATEGY_LABELS.items()]
            strategy = gr.Dropdown(ways, value="random", label=text.STRATEGY, elem_id="campaign-strategy")
        gr.HTML(f'<p class="hint-left">{text.STRATEGY_HINT}</p>')
        axes = gr.CheckboxGroup([(text.AXES[axis], axis) for axis in AXES], label=text.RUBRIC, elem_id="campaign-axes")
        self.form = [title, what, prompts, entrants, takes, frames, which, per_pair, target, strategy, axes]
        with gr.Column(elem_classes="form-foot"):
            self.problem = FieldProblem("campaign-problem", dict(zip(view.FIELDS, self.form, strict=True)))
            self.estimate = gr.HTML("", visible=False, elem_id="campaign-estimate", padding=False)
            self.create_button = gr.Button(text.CREATE, variant="primary", elem_id="create-campaign")

    @property
    def shown(self) -> list[Any]:
        """Outputs of `show`."""
        plots = [self.plots, self.ranked, self.ranking, self.wins, self.judged, self.rewards]
        return [self.campaign, self.axis, self.close, self.sheet, *plots]

    def _wire(self, tab: gr.Tab) -> None:
        _, what, prompts, entrants, takes, _, which, per_pair, target, *_ = self.form
        bind(tab.select, lambda: watched_jobs(self.context, KIND, campaigns=True), None, self.jobs)
        selection = [self.campaign, self.results_mix, self.axis]
        chosen = (self.campaign.input, self.results_mix.input, self.axis.input)
        for event in (self.results_tab.select, *chosen, self.sheet.outdated):
            prepared = bind(event, self.prepare, selection, None)  # not in the shared line: others need not wait for it
            bind(prepared.success, self.show, selection, self.shown, line=RESULTS)
        bind(
            self.close.click,
            once(self.close_or_open),
            [*selection, self.close],
            [*self.shown, self.voting],
            line=RESULTS,
        )
        bind(self.votes_in.upload, once(self.bring_votes), [*selection, self.votes_in], self.shown, line=RESULTS)
        bind(self.pairs_in.upload, once(self.bring_pairs), self.pairs_in, None)
        bind(self.voting.choose_campaign, self.follow, None, self.campaign, line=RESULTS)
        seen = [self.views, *self.shown]
        bind(self.voting.see_results, self.see_results, [self.results_mix, self.axis], seen, line=RESULTS)
        bind(self.list.changed, self.list_changed, self.campaign, [self.campaign, self.voting], line=RESULTS)
        bind(self.make.click, once(self.make_missing), [self.campaign, self.mix], self.jobs)
        bind(self.new_tab.select, self.offer, which, [entrants, which])
        bind(what.input, self.show_what, what, [self.of_models, self.of_clips])
        # Texts and lists by `change`, which prefilled ones fire too; numbers by `input`, as in Generate.
        changed = [field.change for field in (what, prompts, entrants, which)]
        changed += [field.input for field in (takes, per_pair, target)]
        bind(partial(gr.on, changed), self.update_estimate, self.form, self.estimate, trigger_mode="always_last")
        bind(self.sheet.learned, lambda: gr.update(choices=mix_choices()[:-1]), None, self.results_mix)
        created = [self.views, self.campaign, self.voting, self.jobs, self.problem]
        bind(self.create_button.click, once(self.create), [*self.form, self.mix], created)
        bind(self.jobs.job_ended, self.clips_came, self.campaign, self.voting)

    # ---- New campaigns
    def offer(self, which: str) -> list[Any]:
        """Refresh the entrants and the sets of clips of the form."""
        entrants = gr.update(choices=view.entrant_choices(self.context, self.models))
        return [entrants, gr.update(choices=clip_sets.choices(self.context, which))]

    @property
    def of_chosen(self) -> list[Any]:
        """Outputs of `begin_with`."""
        title, what, *_, which = self.form[:7]
        return [self.views, title, what, self.of_models, self.of_clips, which]

    def begin_with(self, clip_ids: Sequence[str]) -> list[Any]:
        """Open the form of a new campaign of these clips."""
        which = clip_sets.of_clips(clip_ids)
        offered = gr.update(choices=clip_sets.choices(self.context, which), value=which)
        shown = self.show_what(view.CLIPS)
        return [gr.update(selected="new"), text.of_chosen(len(clip_ids)), view.CLIPS, *shown, offered]

    def show_what(self, what: str) -> list[Any]:
        return [gr.update(visible=what == view.MADE), gr.update(visible=what == view.CLIPS)]

    def update_estimate(self, *values: Any) -> dict[str, Any]:
        """Return the line about the pairs of the new campaign and the time to vote on them."""
        line = view.estimate_campaign(self.context, values)
        return gr.update(value=f'<p class="hint-left" role="status">{line}</p>', visible=bool(line))

    def create(self, *values: Any) -> list[Any]:
        """Create the campaign, and queue its missing clips. Or show the mistake in the form."""
        *form, mix = values
        key = request_key()
        try:
            spec = view.read_spec(self.context, form)
            campaign, jobs = create_campaign(self.context.queue, self.campaigns, spec, mix or None, key)
        except ConfigError as error:
            same = {"campaign": None, "at": f"{time.time_ns()}"}
            return [
                gr.skip(),
                gr.skip(),
                same,
                watched_jobs(self.context, KIND, campaigns=True),
                self.problem.of(error),
            ]
        missing = len(self.campaigns.missing_requests(campaign.id))
        if jobs:
            ensure_worker(self.context.workspace)
        show_info(text.created(campaign.title, missing))
        chosen = gr.update(choices=self._choices(), value=campaign.id)
        return [
            gr.update(selected="vote"),
            chosen,
            {"campaign": campaign.id, "at": campaign.id},
            watched_jobs(self.context, KIND, campaigns=True),
            None,
        ]

    def make_missing(self, campaign_id: str | None, mix: str | None) -> dict[str, Any]:
        if campaign_id and not self._file_missing(campaign_id, mix):
            show_info(text.NOTHING_MISSING)
        return watched_jobs(self.context, KIND, campaigns=True)

    def _file_missing(self, campaign_id: str, mix: str | None) -> bool:
        jobs = file_missing(self.context.queue, self.campaigns, campaign_id, mix or None)
        if jobs:
            ensure_worker(self.context.workspace)
        return bool(jobs)

    def clips_came(self, campaign_id: str | None, event: gr.EventData) -> dict[str, Any]:
        """Notify the voting panel of new clips."""
        return {"campaign": campaign_id, "at": event.ids[-1]}

    # ---- Results
    def follow(self, event: gr.EventData) -> dict[str, Any]:
        """Select the campaign of the voting panel for the results."""
        return gr.update(choices=self._choices(), value=event.id)

    def see_results(self, mix: str, axis: str, event: gr.EventData) -> list[Any]:
        """Open the results of the voting panel's campaign."""
        return [gr.update(selected="results"), *self.show(event.id, mix, axis)]

    def prepare(self, campaign_id: str | None, mix: str, axis: str = view.OVERALL) -> None:
        """Compute the results that `show` needs."""
        chosen, judged = self._chosen(campaign_id, axis)
        if chosen is not None:
            self.results.prepare(chosen.id, mix, judged or None)

    def _chosen(self, campaign_id: str | None, axis: str) -> tuple[Campaign | None, str]:
        """Return the campaign, or the newest one, and the axis if it has it."""
        campaigns = {campaign.id: campaign for campaign in self.campaigns.list()}
        chosen = campaigns.get(str(campaign_id)) or next(iter(campaigns.values()), None)
        return chosen, axis if chosen is not None and axis in chosen.spec.axes else view.OVERALL

    def show(self, campaign_id: str | None, mix: str, axis: str = view.OVERALL) -> list[Any]:
        """Show the results of a campaign, or of the newest one, and the agreement with the rewards of a mix.

        `axis` selects a criterion of the rubric, or the overall vote.
        """
        campaign, judged = self._chosen(campaign_id, axis)
        offered = gr.update(choices=self._choices(), value=campaign.id if campaign else None)
        if campaign is None:
            nothing = {"empty": text.NO_RESULTS}
            return [offered, gr.update(visible=False), gr.skip(), nothing, *_plots(view.NOTHING)]
        axes = [(text.axis(name), name) for name in campaign.spec.axes]
        results = self.results.show(campaign.id, mix, judged or None)
        by = gr.update(choices=[(text.OVERALL, view.OVERALL), *axes], value=judged, visible=bool(axes))
        closing = gr.update(value=text.CLOSE_CAMPAIGN if campaign.is_open else text.REOPEN_CAMPAIGN)
        return [offered, by, closing, results.sheet, *_plots(results)]

    def close_or_open(self, campaign_id: str | None, mix: str, axis: str, button: str) -> list[Any]:
        """Close or reopen the campaign as the `button` was labelled: another window may have changed it."""
        if campaign_id:
            (self.campaigns.close if button == text.CLOSE_CAMPAIGN else self.campaigns.reopen)(campaign_id)
        return [*self.show(campaign_id, mix, axis), {"campaign": campaign_id, "at": "changed"}]

    def list_changed(self, campaign_id: str | None, event: gr.EventData) -> list[Any]:
        """Offer the campaigns again after one was renamed, closed or deleted."""
        choices = self._choices()
        chosen = campaign_id if campaign_id in [key for _, key in choices] else None
        return [gr.update(choices=choices, value=chosen), {"campaign": chosen, "at": f"{event.id} {time.time_ns()}"}]

    def bring_votes(self, campaign_id: str | None, mix: str, axis: str, file: str) -> list[Any]:
        """Import the votes of a CSV file into the campaign."""
        if campaign_id is None:
            raise ConfigError(text.NO_CAMPAIGN_FOR_VOTES)
        show_info(text.READING)
        imported = import_votes(self.campaigns, campaign_id, Path(file))
        show_info(text.votes_came(imported.stored, imported.known))
        if imported.skipped:
            show_warning(text.left_out(imported.skipped))
        return self.show(campaign_id, mix, axis)

    def bring_pairs(self, file: str) -> None:
        """Import a zip file of pairs for training."""
        show_info(text.READING)
        imported = import_archive(self.context.store, Path(file))
        show_info(text.pairs_came(imported.pairs, str(imported.file)))
        if imported.skipped:
            show_warning(text.left_out(imported.skipped))

    def _choices(self) -> list[tuple[str, str]]:
        return [(campaign.title, campaign.id) for campaign in self.campaigns.list()]


def _plot(name: str, title: str, hint: str, term: str) -> gr.Plot:
    gr.HTML(f'<h3>{title} {icon(term)}</h3><p class="hint-left">{hint}</p>')
    return gr.Plot(show_label=False, container=False, elem_id=name, elem_classes="plot")


def _plots(results: view.Results) -> list[Any]:
    """Return updates for the plots and their panels; empty ones are hidden."""
    ranked, judged = results.ranking is not None, results.rewards is not None
    panels = [gr.update(visible=shown) for shown in (ranked or judged, ranked, judged)]
    ranking, wins, rewards = (
        gr.update(value=figure, visible=figure is not None)
        for figure in (results.ranking, results.wins, results.rewards)
    )
    return [panels[0], panels[1], ranking, wins, panels[2], rewards]
