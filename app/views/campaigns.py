"""A campaign's form read into its spec, and what its votes say as figures, tables and plots."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from pydantic import ValidationError

from app.context import AppContext
from app.forms.generation_form import adapter_names, preset_choices
from app.plots.labelling import reward_bars, strengths, win_matrix
from app.text import labelling as text
from app.views import clip_sets
from app.views.training import train_form as recipe
from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.labelling.campaign_spec import AXES, CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.labelling.progress import CampaignProgress
from engine.labelling.votes import StoredVote
from engine.runs.checkpoints import list_checkpoints
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
MADE, CLIPS = "made", "clips"
OVERALL = ""  # in the place of an axis of the rubric
SEPARATOR = "\t"  # no model's key and no adapter's name has one


def entrant_choices(desk: AppContext, models: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Every model, alone, with each of its adapters, and with each checkpoint of its runs."""
    found = []
    for title, model in models:
        found.append((title, model))
        names = adapter_names(desk.workspace, model)
        names += [one.name for one in list_checkpoints(desk.workspace, model) if one.name not in names]
        found += [(f"{title} + {name}", f"{model}{SEPARATOR}{name}") for name in names]
    return found


def read_spec(desk: AppContext, values: Sequence[Any]) -> CampaignSpec:
    """The filled form. Raises ConfigError in one sentence."""
    form = dict(zip(FIELDS, values, strict=True))
    rules = {
        "title": (form["title"] or "").strip(),
        "labellers_per_pair": form["per_pair"],
        "target_votes": int(form["target"] or 0) or None,
        "strategy": form["strategy"],
        "axes": [axis for axis in AXES if axis in form["axes"]],
    }
    compared = _of_clips(desk, form) if form["what"] == CLIPS else _of_models(form)
    try:
        return CampaignSpec(**rules, **compared)
    except ValidationError as error:
        raise ConfigError(validation_message(error, "The campaign", CampaignSpec.model_fields)) from error


def _of_clips(desk: AppContext, form: Mapping[str, Any]) -> dict[str, Any]:
    return {"clip_ids": [record.id for record in clip_sets.records(desk, form["which"])]}


def _of_models(form: Mapping[str, Any]) -> dict[str, Any]:
    prompts = [line.strip() for line in (form["prompts"] or "").splitlines() if line.strip()]
    if not prompts or not form["entrants"]:
        raise ConfigError(text.NO_SOURCE)
    named = [choice.partition(SEPARATOR) for choice in form["entrants"]]
    frames = int(form["num_frames"] or 0)
    return {
        "prompts": prompts,
        "entrants": [Entrant(model=model, adapter=adapter or None) for model, _, adapter in named],
        "takes": form["takes"],
        "settings": {"num_frames": frames} if frames else {},
    }


def train_form(desk: AppContext, campaign_id: str | None) -> dict[str, Any]:
    """The Train form, filled to learn from a campaign's votes: by a recipe for the model that made its clips, if there
    is one. Raises ConfigError when no recipe learns from pairs."""
    if not campaign_id:
        raise ConfigError(text.NOTHING_TO_TRAIN_ON)
    recipes = [(key, load_preset("train", key)) for _, key in preset_choices("train")]
    learning = [(key, preset) for key, preset in recipes if _learns_from_pairs(preset)]
    if not learning:
        raise ConfigError(text.NO_PAIR_RECIPE)
    made = _models(desk, campaign_id)
    key, _ = max(learning, key=lambda one: made[one[1].model])
    form = recipe.opened(desk, key)
    return {**form, "choices": {**form["choices"], "pairs": "", "campaign": campaign_id}}


def _models(desk: AppContext, campaign_id: str) -> Counter[str]:
    """Of how many of a campaign's clips, or of its entrants, each model is the maker."""
    spec = Campaigns(desk.store).get(campaign_id).spec
    clips = desk.store.existing(spec.clip_ids).values()
    return Counter([one.model for one in spec.entrants] + [clip.model for clip in clips if clip.model])


def _learns_from_pairs(preset: TrainPreset) -> bool:
    return bool(preset.pairs or preset.campaign)


# ---- Results
@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a campaign's votes say. A plot is None where there is nothing to plot; `confidence` is of the intervals."""

    sheet: dict[str, Any]
    ranking: go.Figure | None
    wins: go.Figure | None
    rewards: go.Figure | None


NOTHING = Results(sheet={"empty": text.NO_RESULTS}, ranking=None, wins=None, rewards=None)


def results(desk: AppContext, campaign_id: str, mix: str, axis: str | None = None) -> Results:
    """`mix` is the one whose scores are held against people; `axis` is what they judged, None: the clips as a whole.

    Raises StoreError when there is no such campaign.
    """
    from engine.labelling.stats.ranking import contests, rank
    from engine.labelling.stats.reward_agreement import against_rewards, scores_of

    campaigns = Campaigns(desk.store)
    pulse = campaigns.pulse(campaign_id)  # before the votes: one that comes meanwhile is looked for again
    votes = campaigns.votes(campaign_id)
    ranking = rank(contests(votes, axis))
    clips = list(dict.fromkeys(clip for one in votes for clip in (one.left_clip, one.right_clip)))
    agreeing = against_rewards(votes, scores_of(desk.store.reports(clips, mix)), axis)
    plots = {"ranking": strengths(ranking), "wins": win_matrix(ranking), "rewards": reward_bars(agreeing)}
    lacking = [sentence for name, sentence in text.lacking(mix).items() if votes and plots[name] is None]
    figures = sheet(campaign_id, campaigns.progress(campaign_id), votes)
    return Results(sheet={**figures, "campaign": campaign_id, "pulse": pulse, "remarks": lacking}, **plots)


def sheet(campaign_id: str, far: CampaignProgress, votes: Sequence[StoredVote]) -> dict[str, Any]:
    """The figures, a row a labeller, and where the exports are to be had."""
    from engine.labelling.stats.agreement import agreement

    trust = agreement(votes)
    quality = {one.labeller: one for one in trust.labellers}
    paces = [one.votes_per_hour for one in far.labellers if one.votes_per_hour is not None]
    figures = {
        "votes": f"{far.votes:,} of {far.target:,}",
        "remaining": f"{far.remaining:,}",
        "pace": f"{fmean(paces):,.0f} each" if paces else "–",
        "ready": f"{far.askable:,} of {far.pairs:,}",
        "alpha": text.alpha(trust.alpha, trust.low, trust.high),
        "left": text.share(trust.left.value, trust.left.count),
        "consistent": text.share(trust.consistent.value, trust.consistent.count),
        **({"gone": f"{far.gone:,}"} if far.gone else {}),
    }
    return {
        "figures": [
            *[[text.FIGURES[key], value] for key, value in figures.items()],
            *[[text.alpha_of(axis), f"{alpha:.2f}"] for axis, alpha in trust.axes.items() if alpha is not None],
        ],
        "people": [_person(one, quality.get(one.labeller)) for one in far.labellers],
        "links": [[label, f"/voting/export/{campaign_id}/{key}"] for key, label in text.EXPORTS.items()]
        if votes
        else [],
        "empty": None if votes else text.NO_RESULTS,
    }


def _person(far: Any, quality: Any) -> list[str]:
    pace = "–" if far.votes_per_hour is None else f"{far.votes_per_hour:,.0f}"
    row = [far.labeller, f"{far.done:,}", f"{far.skipped:,}", f"{far.remaining:,}", pace, text.seconds(far.median_ms)]
    if quality is None:
        return [*row, "–", "–", "–"]
    left = text.share(quality.left.value, quality.left.count) + (f", {text.BIASED}" if quality.is_biased else "")
    others = (text.share(share.value, share.count) for share in (quality.consistent, quality.with_others))
    return [*row, left, *others]
