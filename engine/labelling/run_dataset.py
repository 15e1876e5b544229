"""A run on what people preferred: its pairs are frozen when it is created, with the votes that they come from.

run -> pairs.jsonl (pairs, clips) and lineage.json (campaign, votes) -> the store (votes, clips, their requests).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from engine.config.schema import TrainPreset
from engine.errors import ConfigError, StoreError
from engine.files.atomic import write_text_atomic
from engine.labelling.campaigns import Campaign, Campaigns
from engine.labelling.preference_pairs import PreferencePair, preference_pairs
from engine.runs.run import Run
from engine.storage.clip_files import frames_file, has_files
from engine.storage.library import Library


class Lineage(BaseModel):
    """Where a run's pairs come from. `left_out` are pairs that were preferred but whose clips are gone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign_id: str
    campaign: str
    min_margin: float
    votes: int
    last_vote: int
    labellers: tuple[str, ...]
    pair_ids: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def create_run(store: Library, preset: TrainPreset, start: Path | None = None, key: str | None = None) -> Run:
    """A new run, from the adapter in the folder `start` if it is given; of a preset that names a campaign, with the
    pairs of its votes so far. `key` names the request, see `JobSteps.create`.

    Raises ConfigError when the votes make no pair, StoreError when there is no such campaign.
    """
    frozen = freeze_pairs(store, preset)
    return Run.create(store.workspace, preset, start, lambda run: keep_pairs(store, run, frozen), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPairs:
    """The pairs of a campaign as its votes are now, and where they come from."""

    pairs: tuple[PreferencePair, ...]
    lineage: Lineage


def freeze_pairs(store: Library, preset: TrainPreset) -> FrozenPairs | None:
    """The pairs that a run of the preset would learn from now; None for a preset that names no campaign.

    Raises ConfigError when the votes make no pair, StoreError when there is no such campaign.
    """
    if preset.campaign is None:
        return None
    campaigns = Campaigns(store)
    campaign = campaigns.get(preset.campaign)
    votes = campaigns.votes(campaign.id)
    preferred = preference_pairs(votes, min_margin=preset.min_margin)
    there = [pair for pair in preferred if _there(store, pair)]
    if not there:
        raise ConfigError(_nothing(campaign, len(votes), len(preferred), preset.min_margin))
    lineage = Lineage(
        campaign_id=campaign.id,
        campaign=campaign.title,
        min_margin=preset.min_margin,
        votes=len(votes),
        last_vote=max(vote.number for vote in votes),
        labellers=tuple(sorted({vote.vote.labeller for vote in votes})),
        pair_ids=tuple(pair.pair_id for pair in there),
        left_out=tuple(pair.pair_id for pair in preferred if pair not in there),
    )
    return FrozenPairs(pairs=tuple(there), lineage=lineage)


def keep_pairs(store: Library, run: Run, frozen: FrozenPairs | None) -> None:
    """Write the pairs into the run's folder, for its training process; without any, nothing is written."""
    if frozen is not None:
        write_text_atomic(run.pairs_file, as_lines(store, frozen.pairs, run))
        write_text_atomic(run.lineage_file, frozen.lineage.model_dump_json(indent=2) + "\n")


def read_lineage(run: Run) -> Lineage | None:
    """Where a run's pairs come from, None for one that was not made from votes. Raises StoreError when damaged."""
    if not run.lineage_file.is_file():
        return None
    try:
        return Lineage.model_validate_json(run.lineage_file.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{run.lineage_file} is damaged: {str(error).splitlines()[0]}") from error


def as_lines(store: Library, pairs: Sequence[PreferencePair], run: Run) -> str:
    """JSON Lines as `engine.training.build.read_pairs` reads them; clips by their path from the run's folder."""
    rows = [
        {
            "prompt": pair.prompt,
            **{
                side: os.path.relpath(frames_file(store.workspace, clip), run.folder)
                for side, clip in (("chosen", pair.chosen), ("rejected", pair.rejected))
            },
            "margin": pair.margin,
            "source": pair.source,
            "votes": pair.votes,
            "vote_numbers": list(pair.vote_numbers),
            "pair_id": pair.pair_id,
            "chosen_clip": pair.chosen,
            "rejected_clip": pair.rejected,
        }
        for pair in pairs
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _there(store: Library, pair: PreferencePair) -> bool:
    return has_files(store.workspace, pair.chosen) and has_files(store.workspace, pair.rejected)


def _nothing(campaign: Campaign, votes: int, preferred: int, min_margin: float) -> str:
    if preferred:
        return f"The clips of all {preferred} preferred pairs of {campaign.title!r} are gone: make them again."
    margin = f" by a margin of {min_margin:g}" if min_margin else ""
    return (
        f"The {votes} votes of the campaign {campaign.title!r} prefer no clip{margin}: collect more votes, or lower "
        "min_margin."
    )
