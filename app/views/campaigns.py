"""Campaigns: the form of a new one, and its results as figures, tables and plots."""

import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from pydantic import ValidationError

from app.context import AppContext
from app.forms.adapter_fields import offered_adapters
from app.forms.preset_choices import preset_choices
from app.plots.labelling import reward_bars, strengths, win_matrix
from app.text import labelling as text
from app.views import clip_sets
from app.views.training import train_form as form_of_presets
from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.labelling.campaign_spec import AXES, CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.labelling.progress import LOOK_AHEAD, CampaignProgress
from engine.labelling.stats.agreement import agreement
from engine.labelling.stats.campaign_rewards import comparable_reports
from engine.labelling.stats.judge_agreement import JudgeAgreement, campaign_judges
from engine.labelling.stats.ranking import rank, vote_table
from engine.labelling.stats.reward_agreement import agreement_by_reward, scores_by_clip
from engine.labelling.votes import StoredVote
from engine.runs.checkpoints import list_checkpoints
from engine.runs.run_notes import adapter_title
from engine.suggestions import validation_message

FIELDS = (
    "title",
    "what",
    "prompts",
    "entrants",
    "takes",
    "num_frames",
    "which",
    "per_pair",
    "target",
    "strategy",
    "axes",
)
FIELD_OF = {"labellers_per_pair": "per_pair", "target_votes": "target", "clip_ids": "which", "settings": "num_frames"}
MADE, CLIPS = "made", "clips"
VOTE_S = 10.0  # time of a vote in the forecast
OVERALL = ""  # stands for no axis of the rubric
SEPARATOR = "\t"  # no model's key and no adapter's name has one


def entrant_choices(context: AppContext, models: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return every model alone, with each of its adapters, and with each checkpoint of its runs."""
    choices = []
    for title, model in models:
        choices.append((title, model))
        names = list(offered_adapters(context.workspace, model))
        names += [
            checkpoint.name for checkpoint in list_checkpoints(context.workspace, model) if checkpoint.name not in names
        ]
        choices += [
            (f"{title} + {adapter_title(context.workspace, name)}", f"{model}{SEPARATOR}{name}") for name in names
        ]
    return choices


def read_spec(context: AppContext, values: Sequence[Any]) -> CampaignSpec:
    """Read the filled form. Raises ConfigError in one sentence."""
    form = dict(zip(FIELDS, values, strict=True))
    title = (form["title"] or "").strip()
    if not title:
        raise ConfigError(text.NO_TITLE, field="title")
    rules = {
        "title": title,
        "labellers_per_pair": form["per_pair"],
        "target_votes": int(form["target"] or 0) or None,
        "strategy": form["strategy"],
        "axes": [axis for axis in AXES if axis in form["axes"]],
    }
    compared = _of_clips(context, form) if form["what"] == CLIPS else _of_models(form)
    try:
        return CampaignSpec(**rules, **compared)
    except ValidationError as error:
        field = str(next(iter(error.errors()[0]["loc"]), ""))
        sentence = validation_message(error, text.THE_CAMPAIGN, CampaignSpec.model_fields)
        raise ConfigError(sentence, field=FIELD_OF.get(field, field)) from error


def _of_clips(context: AppContext, form: Mapping[str, Any]) -> dict[str, Any]:
    clip_ids = [record.id for record in clip_sets.records(context, form["which"])]
    if not clip_ids:
        raise ConfigError(text.NO_CLIPS, field="which")
    return {"clip_ids": clip_ids}


def _of_models(form: Mapping[str, Any]) -> dict[str, Any]:
    prompts = _lines(form["prompts"])
    if not prompts:
        raise ConfigError(text.NO_PROMPTS, field="prompts")
    if not form["entrants"]:
        raise ConfigError(text.NO_ENTRANTS, field="entrants")
    if len(form["entrants"]) == 1 and form["takes"] < 2:
        raise ConfigError(text.NOTHING_TO_COMPARE, field="takes")
    named = [choice.partition(SEPARATOR) for choice in form["entrants"]]
    frames = int(form["num_frames"] or 0)
    return {
        "prompts": prompts,
        "entrants": [Entrant(model=model, adapter=adapter or None) for model, _, adapter in named],
        "takes": form["takes"],
        "settings": {"num_frames": frames} if frames else {},
    }


def estimate_campaign(context: AppContext, values: Sequence[Any]) -> str:
    """Return the pairs of the filled form and the time to vote on them; "" while there are none."""
    form = dict(zip(FIELDS, values, strict=True))
    if form["what"] == CLIPS:
        per_prompt = Counter(record.prompt for record in clip_sets.records(context, form["which"]))
        pairs = sum(comb(clips, 2) for clips in per_prompt.values())
    else:
        prompts, entrants = set(_lines(form["prompts"])), len(form["entrants"] or ())
        takes = int(form["takes"] or 0)
        pairs = len(prompts) * (takes * comb(entrants, 2) if entrants > 1 else entrants * comb(takes, 2))
    votes = pairs * int(form["per_pair"] or 1)
    votes = min(votes, int(form["target"] or 0) or votes)
    return text.estimate(pairs, votes, votes * VOTE_S) if pairs else ""


def _lines(typed: str | None) -> list[str]:
    return [line.strip() for line in (typed or "").splitlines() if line.strip()]


def train_form(context: AppContext, campaign_id: str | None) -> dict[str, Any]:
    """Return the Train form for a campaign's votes.

    It has a preset for the model of the campaign's clips if there is one. Raises ConfigError if no preset trains on
    pairs.
    """
    if not campaign_id:
        raise ConfigError(text.NOTHING_TO_TRAIN_ON)
    presets = [(key, load_preset("train", key)) for _, key in preset_choices("train")]
    candidates = [(key, preset) for key, preset in presets if _learns_from_pairs(preset)]
    if not candidates:
        raise ConfigError(text.NO_PAIR_PRESET)
    clips_per_model = _models(context, campaign_id)
    key, _ = max(candidates, key=lambda candidate: clips_per_model[candidate[1].model])
    form = form_of_presets.open_form(context, key)
    return {**form, "choices": {**form["choices"], "pairs": "", "campaign": campaign_id}}


def _models(context: AppContext, campaign_id: str) -> Counter[str]:
    """Count the clips and entrants of a campaign by model."""
    spec = Campaigns(context.store).get(campaign_id).spec
    clips = context.store.existing(spec.clip_ids).values()
    return Counter([entrant.model for entrant in spec.entrants] + [clip.model for clip in clips if clip.model])


def _learns_from_pairs(preset: TrainPreset) -> bool:
    return bool(preset.pairs or preset.campaign)


# ---- Results
@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Results of a campaign. A plot is None if there is nothing to plot."""

    sheet: dict[str, Any]
    ranking: go.Figure | None
    wins: go.Figure | None
    rewards: go.Figure | None


SLOW_S, JUST_NOW_S = 2.0, 1.0
REFRESH_S, SHARE = 30.0, 10.0  # least time between two computations of slow results, in seconds and in their time
MOST_KEPT = 16
NOTHING = Results(sheet={"empty": text.NO_RESULTS}, ranking=None, wins=None, rewards=None)


@dataclass(frozen=True, slots=True)
class _KeptResults:
    """The results last computed for a campaign, mix and axis; `took_s` and `at_s` by the monotonic clock."""

    results: Results
    took_s: float
    at_s: float

    @property
    def is_slow(self) -> bool:
        return self.took_s > SLOW_S

    @property
    def is_due(self) -> bool:
        """True if they are to be computed again; results that took long are kept longer."""
        return time.monotonic() - self.at_s > (max(REFRESH_S, SHARE * self.took_s) if self.is_slow else JUST_NOW_S)


class ResultsKeeper:
    """Results of campaigns, computed once for all that look at them.

    Those of small campaigns are always new. Those of a campaign with very many votes take long: they are computed at
    most once in `REFRESH_S` and a tenth of the time, in `prepare`, and `show` gives the last ones.
    """

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._kept: OrderedDict[tuple[str, str, str | None], _KeptResults] = OrderedDict()
        self._locks: defaultdict[tuple[str, str, str | None], threading.Lock] = defaultdict(threading.Lock)

    def prepare(self, campaign_id: str, mix: str, axis: str | None = None) -> None:
        """Compute the results if they are due. Raises as `results`."""
        self._of(campaign_id, mix, axis, waiting=True)

    def show(self, campaign_id: str, mix: str, axis: str | None = None) -> Results:
        """Return the results, perhaps not the newest ones. Raises as `results`."""
        return self._of(campaign_id, mix, axis, waiting=False)

    def _of(self, campaign_id: str, mix: str, axis: str | None, *, waiting: bool) -> Results:
        key = (campaign_id, mix, axis)
        if (kept := self._kept.get(key)) and not waiting and self._may_show(kept, campaign_id):
            return kept.results
        with self._locks[key]:
            kept = self._kept.get(key)
            if kept and (self._may_show(kept, campaign_id) if not waiting else not kept.is_due):
                return kept.results
            began = time.monotonic()
            found = results(self._context, campaign_id, mix, axis)
            at = time.monotonic()
            self._kept[key] = _KeptResults(found, at - began, at)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return found

    def _may_show(self, kept: _KeptResults, campaign_id: str) -> bool:
        if kept.is_slow:
            return True
        return not kept.is_due and kept.results.sheet["pulse"] == Campaigns(self._context.store).revision(campaign_id)


def results(context: AppContext, campaign_id: str, mix: str, axis: str | None = None) -> Results:
    """Return the results of a campaign, and the agreement of the votes with the scores of `mix`.

    `axis` selects a criterion of the rubric, None the overall vote. Raises StoreError if there is no such campaign.
    """
    campaigns = Campaigns(context.store)
    pulse = campaigns.revision(campaign_id)  # before the votes: a vote that arrives meanwhile changes it
    votes = campaigns.votes(campaign_id)
    ranking = rank(vote_table(votes, axis))
    clips = list(dict.fromkeys(clip for vote in votes for clip in (vote.left_clip, vote.right_clip)))
    agreements = agreement_by_reward(votes, scores_by_clip(comparable_reports(context.store, clips, mix)), axis)
    plots = {"ranking": strengths(ranking), "wins": win_matrix(ranking), "rewards": reward_bars(agreements)}
    lacking = [sentence for name, sentence in text.lacking(mix).items() if votes and plots[name] is None]
    figures = summary(campaign_id, campaigns.progress(campaign_id), votes, campaign_judges(campaigns, campaign_id))
    sheet = {**figures, "campaign": campaign_id, "mix": mix, "pulse": pulse, "remarks": lacking}
    return Results(sheet=sheet, **plots)


def summary(
    campaign_id: str, progress: CampaignProgress, votes: Sequence[StoredVote], judges: Sequence[JudgeAgreement] = ()
) -> dict[str, Any]:
    """Return the figures of a campaign and its judges, one row per labeller, and links to the exports."""
    agreements = agreement(votes)
    quality = {labeller.labeller: labeller for labeller in agreements.labellers}
    paces = [labeller.votes_per_hour for labeller in progress.labellers if labeller.votes_per_hour is not None]
    figures = {
        "votes": f"{progress.votes:,} of {progress.target:,}",
        "remaining": f"{progress.remaining:,}",
        "pace": f"{fmean(paces):,.0f} each" if paces else "–",
        "ready": f"{progress.assignable:,} of {progress.pairs:,}",
        "alpha": text.alpha(agreements.alpha, agreements.low, agreements.high),
        "left": text.share(agreements.left.value, agreements.left.count),
        "consistent": text.share(agreements.consistent.value, agreements.consistent.count),
        **({"gone": f"{progress.missing_files:,}"} if progress.missing_files else {}),
    }
    return {
        "figures": [
            *[[text.FIGURES[key], value] for key, value in figures.items()],
            *[[text.alpha_of(axis), f"{alpha:.2f}"] for axis, alpha in agreements.axes.items() if alpha is not None],
            *[[text.judge(found.judge), _agrees(found)] for found in judges],
        ],
        "people": [_person(labeller, quality.get(labeller.labeller)) for labeller in progress.labellers],
        "links": [[label, f"/voting/export/{campaign_id}/{key}"] for key, label in text.EXPORTS.items()]
        if votes
        else [],
        "empty": None if votes else text.NO_RESULTS,
    }


def _agrees(judge: JudgeAgreement) -> str:
    """Return the judge's agreement with people, its ties, and its preference for a place."""
    ties, first = judge.ties / judge.pairs, judge.first_chosen
    return text.judge_agrees(text.share(judge.equal.value, judge.equal.count), judge.alpha, ties, first)


def _person(labeller: Any, quality: Any) -> list[str]:
    pace = "–" if labeller.votes_per_hour is None else f"{labeller.votes_per_hour:,.0f}"
    row = [
        labeller.labeller,
        f"{labeller.done:,}",
        f"{labeller.skipped:,}",
        f"{labeller.remaining:,}" + ("+" if labeller.remaining >= LOOK_AHEAD else ""),
        pace,
        text.seconds(labeller.median_ms),
    ]
    if quality is None:
        return [*row, "–", "–", "–"]
    left = text.share(quality.left.value, quality.left.count) + (f", {text.BIASED}" if quality.is_biased else "")
    others = (text.share(share.value, share.count) for share in (quality.consistent, quality.with_others))
    return [*row, left, *others]
