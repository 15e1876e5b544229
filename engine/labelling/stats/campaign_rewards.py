"""Learn a mix of rewards from a campaign's votes, and save it as a preset."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.clock import now
from engine.config.presets import load_preset, preset_keys
from engine.labelling.campaigns import Campaigns
from engine.labelling.stats.learned_mix import LearnedMix, learn_mix, save_mix
from engine.labelling.stats.reward_agreement import TOTAL, scores_by_clip
from engine.storage.library import Library
from rewards.calibration import measures_alike, mix_calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedMix:
    """A learned mix and its preset file."""

    file: Path
    learned: LearnedMix


def learn_campaign_mix(campaigns: Campaigns, campaign_id: str, mix: str, folder: Path, key: str) -> SavedMix:
    """Learn weights for the rewards of `mix` from votes and save them as preset `key` in `folder`.

    Raises ConfigError for too few votes on clips scored by `mix`, a name in use, or an unknown mix.
    """
    base = load_preset("rewards", mix)
    votes = campaigns.votes(campaign_id)
    scores = _scores(campaigns, campaign_id, mix)
    rewards = sorted({reward for values in scores.values() for reward in values} - {TOTAL})
    learned = learn_mix(votes, scores, rewards)
    provenance = {
        "campaign": campaign_id,
        "title": campaigns.get(campaign_id).title,
        "votes": len(votes),
        "last_vote": votes[-1].number,
        "labellers": sorted({vote.vote.labeller for vote in votes}),
        "scored_by": mix,
        "learned_at": f"{now():%Y-%m-%d %H:%M} UTC",
    }
    return SavedMix(file=save_mix(folder, key, learned, base, provenance), learned=learned)


def _scores(campaigns: Campaigns, campaign_id: str, mix: str) -> dict[str, dict[str, float | None]]:
    clips = {clip for pair in campaigns.pairs(campaign_id) for clip in (pair.clip_a, pair.clip_b)}
    return scores_by_clip(comparable_reports(campaigns.store, clips, mix))


def comparable_reports(store: Library, clips: Iterable[str], mix: str) -> dict[str, dict[str, Any]]:
    """Return the reports of clips by `mix` that are comparable.

    Those of another calibration, back end or declaration are left out: differences between the others and
    these would measure the calibration. Without the preset of the mix, which may have been deleted, none is.
    """
    if mix not in preset_keys("rewards"):
        return {}
    present = mix_calibration(load_preset("rewards", mix))
    reports = store.reports(clips, mix)
    return {clip: report for clip, report in reports.items() if measures_alike(report.get("calibration"), present)}
