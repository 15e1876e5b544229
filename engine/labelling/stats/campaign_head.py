"""Train a reward head on a campaign's votes, and save it as an external reward."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.clock import now
from engine.config.presets import check_new_key, load_preset, write_preset
from engine.errors import ConfigError, DailiesError, StoreError
from engine.files.atomic import partial_file
from engine.labelling.campaigns import Campaigns
from engine.labelling.preference_pairs import tally_pairs
from engine.labelling.stats.reward_head import train_head
from engine.storage.clip_files import load_clip
from rewards.heads.embedding import embed
from rewards.heads.model import HeadCard, save_head
from rewards.registry import REWARDS
from rewards.suite import RewardSuite

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadProgress:
    """`done` of `total` clips have their embedding."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedHead:
    """The declaration of a trained head and its card."""

    file: Path
    card: HeadCard


def train_campaign_head(
    campaigns: Campaigns, campaign_id: str, mix: str, folder: Path, key: str
) -> Iterator[HeadProgress | SavedHead]:
    """Train a reward head on the campaign's votes, and declare it as `key` in `folder`.

    The campaign's clips are embedded with the networks of `mix`. Yield the progress, and the saved head at the end;
    stop iterating to cancel. `folder` is a folder of external rewards. Pairs of clips that cannot be read are left out.
    Raises ConfigError for a bad name or one in use, an unknown mix, one without built-in rewards, or too few votes, and
    RewardUnavailable when a network of the mix is not on this machine, and StoreError when the head cannot be written.
    """
    check_new_key(folder, key)
    if key in REWARDS:
        raise ConfigError(f"A reward named '{key}' exists already: choose another name.")
    base = load_preset("rewards", mix)
    rewards = [reward for reward, weight in base.weights.items() if weight > 0 and reward in REWARDS]
    if not rewards:
        raise ConfigError(f"The mix '{mix}' has no built-in reward, which a head is trained on: name another mix.")
    suite = RewardSuite(base.model_copy(update={"weights": {reward: base.weights[reward] for reward in rewards}}))
    tallies = [tally for tally in tally_pairs(campaigns.votes(campaign_id)) if tally.votes]
    clips = sorted({clip for tally in tallies for clip in (tally.clip_a, tally.clip_b)})
    embeddings: dict[str, Mapping[str, np.ndarray]] = {}
    for number, clip_id in enumerate(clips):
        yield HeadProgress(done=number, total=len(clips))
        try:
            features = suite.features(load_clip(campaigns.store.workspace, clip_id))
        except DailiesError as error:
            log.warning("The pairs of the clip %s are left out: %s", clip_id, error)
            continue
        report = suite.score_features(features)
        embeddings[clip_id] = embed(features, report.results, rewards)
    title = campaigns.get(campaign_id).title
    card = {"key": key, "title": f"Votes: {title}", "created_at": now(), "source": f"campaign {campaign_id}"}
    head = train_head(tallies, embeddings, mix=base, rewards=rewards, card=card)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The declaration takes the name: weights under a name in use are not replaced.
        with partial_file(folder / f"{key}.safetensors", durable=True) as partial:
            save_head(partial, head)
            path = _declare(folder, head.card)
    except OSError as error:
        raise StoreError(f"The head cannot be written to {folder}: {error.strerror or error}.") from error
    yield SavedHead(file=path, card=head.card)


def _declare(folder: Path, card: HeadCard) -> Path:
    """Write the declaration of a head, with its accuracies as comments, and return its file."""
    accuracies = {
        "accuracy on held-out prompts": card.accuracy,
        "accuracy of a learned mix": card.mix_accuracy,
        f"accuracy of {card.best_reward}, the best single reward": card.best_reward_accuracy,
    }
    comments = [f"{name}: {'unknown' if value is None else f'{value:.3f}'}" for name, value in accuracies.items()]
    question = f"Would the labellers of {card.votes} votes on {card.pairs} pairs prefer this clip?"
    texts = {"title": card.title, "question": question, "unit": "value", "licence": "yours", "source": card.source}
    return write_preset(folder, card.key, {**texts, "head": {"file": f"{card.key}.safetensors"}}, comments)
