"""What a campaign's votes say of the rewards: their agreement with people, and a mix that is learned from them."""

from dataclasses import dataclass
from pathlib import Path

from engine.config.presets import load_preset
from engine.labelling.campaigns import Campaigns
from engine.labelling.stats.learned_mix import LearnedMix, learn_mix, save_mix
from engine.labelling.stats.reward_agreement import TOTAL, RewardAgreement, against_rewards, scores_of
from engine.storage.library import now


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedMix:
    """A learned mix and the preset file that it is in."""

    file: Path
    learned: LearnedMix


def rewards_against_people(campaigns: Campaigns, campaign_id: str, mix: str) -> list[RewardAgreement]:
    """Each reward of `mix`, and its total, against the campaign's votes; by what the mix said of the clips so far."""
    return against_rewards(campaigns.votes(campaign_id), _scores(campaigns, campaign_id, mix))


def learn_from(campaigns: Campaigns, campaign_id: str, mix: str, folder: Path, key: str) -> SavedMix:
    """Learn weights for the rewards of `mix` from the campaign's votes and save them as the preset `key` in `folder`.

    Raises ConfigError: too few votes on clips that `mix` has scored, a name that is taken, an unknown mix.
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
        "labellers": sorted({one.vote.labeller for one in votes}),
        "scored_by": mix,
        "learned_at": f"{now():%Y-%m-%d %H:%M} UTC",
    }
    return SavedMix(file=save_mix(folder, key, learned, base, provenance), learned=learned)


def _scores(campaigns: Campaigns, campaign_id: str, mix: str) -> dict[str, dict[str, float | None]]:
    clips = {clip for pair in campaigns.pairs(campaign_id) for clip in (pair.clip_a, pair.clip_b)}
    return scores_of(campaigns.store.reports(clips, mix))
