"""The pairs of a campaign in the Label tab, with their votes and AI labellers."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.components.action_table import ActionTable
from app.components.job_queue import JobWatch
from app.context import AppContext
from app.events import bind
from app.forms.preset_choices import default_choice
from app.middleware.idempotency import once
from app.text import labelling as text
from app.text.help import icon
from app.views.campaign_list import pair_table
from app.views.jobs import watched_jobs
from engine.errors import ConfigError
from engine.jobs.spec import JobSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import pairwise_judges

KIND = "judge"
PAIRS = "label-pairs"  # the line of the events that fill the table


class CampaignPairs:
    """The sub-tab. `campaign_choices` returns the campaigns by title."""

    def __init__(self, context: AppContext, tab: gr.Tab, campaign_choices: Callable[[], list[tuple[str, str]]]) -> None:
        self.context, self.campaigns, self._choices = context, Campaigns(context.store), campaign_choices
        with gr.Column(elem_classes="desk-panel"):
            with gr.Row(elem_classes="tight"):
                self.campaign = gr.Dropdown(campaign_choices(), label=text.CAMPAIGN, min_width=220, elem_id="pairs-of")
                self.search = gr.Textbox(label=text.SEARCH_PAIRS, max_lines=1, min_width=180, elem_id="pairs-search")
                states = [(label, key) for key, label in text.PAIR_STATES.items()]
                self.state = gr.Dropdown(
                    states, value="all", label=text.SHOW_PAIRS, min_width=180, elem_id="pairs-state"
                )
                judges = self._judges()
                self.judge = gr.Dropdown(
                    judges, value=default_choice(judges, ""), label=text.JUDGE_BY, min_width=180, elem_id="pairs-judge"
                )
                self.ask = gr.Button(text.JUDGE, size="md", scale=0, min_width=170, elem_classes="beside-label")
            self.hint = gr.HTML(self._hint(judges), padding=False)
            self.jobs = JobWatch("judge-jobs", KIND)
            self.table = ActionTable("label-pairs")
        self._wire(tab)

    def _wire(self, tab: gr.Tab) -> None:
        chosen = [self.campaign, self.search, self.state]
        bind(
            tab.select, self.open, [*chosen, self.judge], [self.campaign, self.judge, self.hint, self.jobs, self.table]
        )
        for event in (self.campaign.input, self.search.change, self.state.input, self.jobs.job_ended):
            bind(event, self.show, chosen, self.table, line=PAIRS, trigger_mode="always_last")
        bind(self.table.act, once(self.drop_or_restore), [self.table, *chosen], self.table, line=PAIRS)
        bind(self.ask.click, once(self.judge_pairs), [self.campaign, self.judge], self.jobs)

    def open(self, campaign_id: str | None, search: str, state: str, judge: str | None) -> list[Any]:
        """Refresh campaigns, AI labellers and pairs when the tab is opened."""
        choices, judges = self._choices(), self._judges()
        chosen = default_choice(choices, campaign_id or "")
        asked = gr.update(choices=judges, value=default_choice(judges, judge or ""))
        campaign = gr.update(choices=choices, value=chosen)
        return [campaign, asked, self._hint(judges), watched_jobs(self.context, KIND), self.show(chosen, search, state)]

    def show(self, campaign_id: str | None, search: str, state: str) -> dict[str, Any]:
        return pair_table(self.context, campaign_id, search, state)

    def drop_or_restore(
        self, table: dict[str, Any], campaign_id: str | None, search: str, state: str, event: gr.EventData
    ) -> dict[str, Any]:
        """Drop a pair or take it back, as its row was labelled: another window may have changed it."""
        row = next(row for row in table["rows"] if row["key"] == event.key)
        self.campaigns.set_dropped(event.key, row["action"] == text.DROP_PAIR)
        return self.show(campaign_id, search, state)

    def judge_pairs(self, campaign_id: str | None, judge: str | None) -> dict[str, Any]:
        """Queue the votes of an AI labeller."""
        if campaign_id is None or judge is None:
            raise ConfigError(text.NO_CAMPAIGN if campaign_id is None else text.NO_JUDGE)
        self.context.submit_shared(JobSpec(kind=KIND, config={"campaign": campaign_id, "judge": judge}))
        return watched_jobs(self.context, KIND)

    def _judges(self) -> list[tuple[str, str]]:
        return [(title, key) for key, title in pairwise_judges().items()]

    def _hint(self, judges: list[tuple[str, str]]) -> str:
        of_judges = text.JUDGED_BY if judges else text.NO_JUDGE
        return f'<p class="hint-left">{text.DROP_HINT} {of_judges} {icon("AI labeller")}</p>'
