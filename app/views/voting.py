"""Values of the voting panel: pairs without their models, the labeller's votes and progress."""

from collections.abc import Sequence
from typing import Any, Literal

from app.context import AppContext
from app.text import labelling
from app.views.jobs import GENERATE, is_of_campaign
from engine.jobs.spec import UNFINISHED
from engine.labelling.assignment import Assignment
from engine.labelling.campaign_spec import Campaign
from engine.labelling.progress import LOOK_AHEAD, LabellerStatus, count_clips
from engine.labelling.votes import StoredVote
from engine.storage.library import ClipRecord, Library

Side = Literal["left", "right"]


def campaign_choice(campaign: Campaign) -> dict[str, Any]:
    """Return the public data of a campaign, which does not reveal the competing models."""
    shown = {"id": campaign.id, "title": campaign.title, "instructions": campaign.spec.instructions}
    shown["keys"] = "".join(campaign.spec.keys)
    return {**shown, "axes": axes(campaign.spec.axes), "open": campaign.is_open}


def axes(names: Sequence[str]) -> list[dict[str, str]]:
    """Return the axes of the rubric, each with its key on the keyboard."""
    spare = iter(labelling.SPARE_KEYS)
    return [
        {
            "name": name,
            "label": labelling.axis(name),
            "key": labelling.AXIS_KEYS.get(name) or next(spare, ""),
        }
        for name in names
    ]


def pairs(store: Library, assignments: Sequence[Assignment | StoredVote]) -> list[dict[str, Any]]:
    """Return the pairs for the player, in this order, without pairs that have a deleted clip."""
    clips = store.existing(
        [clip for assignment in assignments for clip in (assignment.left_clip, assignment.right_clip)]
    )
    with_clips = [
        (assignment, clips.get(assignment.left_clip), clips.get(assignment.right_clip)) for assignment in assignments
    ]
    return [_pair(assignment, left, right) for assignment, left, right in with_clips if left and right]


def own_votes(store: Library, votes: Sequence[StoredVote]) -> list[dict[str, Any]]:
    """Return a labeller's votes, newest first, each with its pair as shown; repeats are not marked."""
    clips = store.existing([clip for vote in votes for clip in (vote.left_clip, vote.right_clip)])
    with_clips = [(vote, clips.get(vote.left_clip), clips.get(vote.right_clip)) for vote in reversed(votes)]
    return [_own(vote, left, right) for vote, left, right in with_clips if left and right]


def _own(stored_vote: StoredVote, left: ClipRecord, right: ClipRecord) -> dict[str, Any]:
    vote = stored_vote.vote
    fields = {
        "choice": vote.choice,
        "axes": dict(vote.axes),
        "note": vote.note,
        "at": stored_vote.created_at.isoformat(),
    }
    return {"pair": _pair(stored_vote, left, right), **fields}


def _pair(assignment: Assignment | StoredVote, left: ClipRecord, right: ClipRecord) -> dict[str, Any]:
    """Return a pair for the player, its clips named by the showing: their ids would identify them."""
    showing = assignment.id if isinstance(assignment, Assignment) else assignment.assignment_id
    sides: tuple[tuple[Side, ClipRecord], ...] = (("left", left), ("right", right))
    return {"showing": showing, "prompt": assignment.prompt, "clips": [_clip(showing, *side) for side in sides]}


def _clip(showing: int, side: Side, record: ClipRecord) -> dict[str, Any]:
    size = {name: getattr(record, name) for name in ("num_frames", "fps", "width", "height")}
    return {"id": f"{showing}-{side}", "url": f"/voting/clip/{showing}/{side}.mp4", "caption": "", **size}


def clips_generating(context: AppContext, campaign_id: str) -> dict[str, int]:
    """Return how many clips of a campaign are not generated yet, and how many it has."""
    if not any(is_of_campaign(job) for job in context.queue.list(UNFINISHED, GENERATE, limit=None)):
        return {"generating": 0, "clips": 0}  # counting would take time at each vote
    clips, missing = count_clips(context.store, campaign_id)
    return {"generating": missing, "clips": clips}


def standing(status: LabellerStatus) -> dict[str, Any]:
    """Return a labeller's progress, and whether clips are still being generated."""
    return {
        "done": status.done,
        "remaining": status.remaining,
        "many": status.remaining >= LOOK_AHEAD,
        "making": status.awaiting_clips > 0,
        "gone": status.files_missing,
    }


def undone(store: Library, vote: StoredVote) -> dict[str, Any]:
    """Return the pair of an undone vote, if its clips exist, with the vote's axes and note."""
    return {"pairs": pairs(store, [vote]), "axes": dict(vote.vote.axes), "note": vote.vote.note}


def stored(vote: StoredVote) -> dict[str, Any]:
    """Confirm that a vote is in the database: the browser may drop the one with this `client_uuid`."""
    return {"stored": vote.vote.client_uuid, "said": labelling.CHOICES[vote.vote.choice]}
