"""What the voting view shows: pairs without their models, who one is, how far one is."""

from collections.abc import Sequence
from typing import Any, Literal

from app.text import labelling
from engine.labelling.assignment import Assignment
from engine.labelling.campaigns import Campaign
from engine.labelling.progress import LabellerStatus
from engine.labelling.votes import StoredVote
from engine.storage.library import ClipRecord, Library

Side = Literal["left", "right"]


def campaign_choice(campaign: Campaign) -> dict[str, Any]:
    """A campaign as the voting view knows it; nothing of it tells which models compete."""
    return {"id": campaign.id, "title": campaign.title, "axes": axes(campaign.spec.axes), "open": campaign.is_open}


def axes(names: Sequence[str]) -> list[dict[str, str]]:
    """The rubric's axes, each with its key."""
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
    """The pairs as the player plays them, in the order given, but those of which a clip was deleted meanwhile."""
    known = store.existing([clip for one in assignments for clip in (one.left_clip, one.right_clip)])
    both = [(one, known.get(one.left_clip), known.get(one.right_clip)) for one in assignments]
    return [_pair(one, left, right) for one, left, right in both if left and right]


def own_votes(store: Library, votes: Sequence[StoredVote]) -> list[dict[str, Any]]:
    """A labeller's own votes, the newest first, each with its pair as it was shown; a repeat looks like any other."""
    known = store.existing([clip for one in votes for clip in (one.left_clip, one.right_clip)])
    both = [(one, known.get(one.left_clip), known.get(one.right_clip)) for one in reversed(votes)]
    return [_own(one, left, right) for one, left, right in both if left and right]


def _own(one: StoredVote, left: ClipRecord, right: ClipRecord) -> dict[str, Any]:
    vote = one.vote
    said = {"choice": vote.choice, "axes": dict(vote.axes), "note": vote.note, "at": one.created_at.isoformat()}
    return {"pair": _pair(one, left, right), **said}


def _pair(one: Assignment | StoredVote, left: ClipRecord, right: ClipRecord) -> dict[str, Any]:
    """What the player needs. A clip is named by its showing, so that none is recognised in another pair."""
    showing = one.id if isinstance(one, Assignment) else one.assignment_id
    sides: tuple[tuple[Side, ClipRecord], ...] = (("left", left), ("right", right))
    return {"showing": showing, "prompt": one.prompt, "clips": [_clip(showing, *side) for side in sides]}


def _clip(showing: int, side: Side, record: ClipRecord) -> dict[str, Any]:
    seen = {name: getattr(record, name) for name in ("num_frames", "fps", "width", "height")}
    return {"id": f"{showing}-{side}", "url": f"/voting/clip/{showing}/{side}.mp4", "caption": "", **seen}


def standing(far: LabellerStatus) -> dict[str, Any]:
    """How far one labeller is, and whether clips are still to come."""
    mine = far.labeller
    return {"done": mine.done, "remaining": mine.remaining, "making": far.missing > 0, "gone": far.gone}


def undone(store: Library, one: StoredVote) -> dict[str, Any]:
    """The pair that is asked about again, if its clips are there, and what was said of it beside the choice."""
    return {"pairs": pairs(store, [one]), "axes": dict(one.vote.axes), "note": one.vote.note}


def stored(vote: StoredVote) -> dict[str, Any]:
    """That the vote is in the database: the browser may forget the one of this `client_uuid`."""
    return {"stored": vote.vote.client_uuid, "said": labelling.CHOICES[vote.vote.choice]}
