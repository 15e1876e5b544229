"""Preference pairs of a run: frozen when the run is created, with the votes that they come from.

run -> pairs.jsonl (pairs, clips) and lineage.json (campaign, votes) -> the database (votes, clips, their requests).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from engine.config.algorithms import ALGORITHMS
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, StoreError
from engine.files.atomic import write_text_atomic
from engine.labelling.campaign_spec import Campaign, pictures_of
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import judge_votes
from engine.labelling.pair_tables import lines_text, pair_line
from engine.labelling.preference_pairs import PreferencePair, preference_pairs
from engine.labelling.stats.judge_agreement import JudgeAgreement, checked_preferences, judge_agreements
from engine.runs.run import Run
from engine.storage.clip_files import frames_file, has_files
from engine.storage.library import ClipRecord, Library
from rewards.models import FrozenModel


class Lineage(FrozenModel):
    """Origin of a run's pairs. `left_out` are pairs with a preference whose clips are missing.

    `judge` is the AI labeller of the pairs with the source "judge", with its agreement with people at that time.
    """

    campaign_id: str
    campaign: str
    min_margin: float
    votes: int
    last_vote: int
    labellers: tuple[str, ...]
    pair_ids: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    judge: JudgeAgreement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPairs:
    """The pairs of a campaign's current votes, and their origin."""

    pairs: tuple[PreferencePair, ...]
    lineage: Lineage


def freeze_pairs(store: Library, preset: TrainPreset) -> FrozenPairs | None:
    """Return the pairs that a run of the preset would train on; None for a preset without a campaign.

    Raises ConfigError when the votes make no pair, StoreError when there is no such campaign.
    """
    if preset.campaign is None:
        return None
    campaigns = Campaigns(store)
    campaign = campaigns.get(preset.campaign)
    votes = campaigns.votes(campaign.id)
    rated = ALGORITHMS[preset.algorithm].data == "ratings"
    preferred = preference_pairs(votes, min_margin=preset.min_margin, with_both_bad=rated)
    judged = judge_votes(store, campaign.id, preset.judge) if preset.judge else []
    if preset.judge:
        preferred += checked_preferences(preset.judge, votes, judged, preset.judge_agreement)
    usable = [pair for pair in preferred if _has_clips(store, pair)]
    if not usable:
        raise ConfigError(_no_pairs(campaign, len(votes), len(preferred), preset.min_margin))
    kept = {pair.pair_id for pair in usable}
    lineage = Lineage(
        campaign_id=campaign.id,
        campaign=campaign.title,
        min_margin=preset.min_margin,
        votes=len(votes),
        last_vote=max((vote.number for vote in votes), default=0),
        labellers=tuple(sorted({vote.vote.labeller for vote in votes})),
        pair_ids=tuple(pair.pair_id for pair in usable),
        left_out=tuple(pair.pair_id for pair in preferred if pair.pair_id not in kept),
        judge=next(iter(judge_agreements(votes, judged)), None),
    )
    return FrozenPairs(pairs=tuple(usable), lineage=lineage)


def write_frozen_pairs(store: Library, run: Run, frozen: FrozenPairs | None) -> None:
    """Write the pairs and their lineage into the run's folder; do nothing for None."""
    if frozen is not None:
        write_text_atomic(run.pairs_file, pairs_jsonl(store, frozen.pairs, run))
        write_text_atomic(run.lineage_file, frozen.lineage.model_dump_json(indent=2) + "\n")


def read_lineage(run: Run) -> Lineage | None:
    """Return the lineage of a run's pairs; None for a run without votes. Raises StoreError when damaged."""
    if not run.lineage_file.is_file():
        return None
    try:
        return Lineage.model_validate_json(run.lineage_file.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{run.lineage_file} is damaged: {str(error).splitlines()[0]}") from error


def pairs_jsonl(store: Library, pairs: Sequence[PreferencePair], run: Run) -> str:
    """Return the text of the run's `pairs.jsonl`; clip paths are relative to the run."""
    records = store.existing([pair.chosen for pair in pairs])
    return lines_text(
        pair_line(
            pair,
            lambda clip: os.path.relpath(frames_file(store.workspace, clip), run.folder),
            **_pictures(records.get(pair.chosen)),
            both_bad=pair.both_bad or None,
            vote_numbers=pair.vote_numbers,
            chosen_clip=pair.chosen,
            rejected_clip=pair.rejected,
        )
        for pair in pairs
    )


def _pictures(record: ClipRecord | None) -> dict[str, str]:
    """Return the pictures that both clips of a pair were made from."""
    names = zip(("image", "last_image"), pictures_of(record) if record else (None, None), strict=True)
    return {name: picture for name, picture in names if picture is not None}


def _has_clips(store: Library, pair: PreferencePair) -> bool:
    return has_files(store.workspace, pair.chosen) and has_files(store.workspace, pair.rejected)


def _no_pairs(campaign: Campaign, votes: int, preferred: int, min_margin: float) -> str:
    if preferred:
        return f"The clips of all {preferred} preferred pairs of {campaign.title!r} are missing: generate them again."
    margin = f" by a margin of {min_margin:g}" if min_margin else ""
    return (
        f"The {votes} votes of the campaign {campaign.title!r} prefer no clip{margin}: collect more votes, or lower "
        "min_margin."
    )
