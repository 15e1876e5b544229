"""Votes of simulated labellers in a campaign, through the same calls as the voting page."""

from collections.abc import Generator, Mapping, Sequence

from engine.jobs.spec import JobProgress
from engine.labelling.assignment import Assignment
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Choice, Vote
from engine.mini.judge import judge
from engine.storage.clip_files import load_clip
from engine.storage.library import Library
from examples.tour.labeller import SimulatedLabeller
from examples.tour.settings import Person


class Judging:
    """Caches the judge's scores of clips in a store, in 0..1; None where the judge cannot score a clip."""

    def __init__(self, store: Library, known: Mapping[str, float] | None = None) -> None:
        self._store = store
        self._known: dict[str, float | None] = dict(known or {})

    @property
    def known(self) -> dict[str, float]:
        """Scores so far by clip id, without the clips that could not be scored."""
        return {clip: score for clip, score in self._known.items() if score is not None}

    def score(self, clip_id: str) -> float | None:
        if clip_id not in self._known:
            clip = load_clip(self._store.workspace, clip_id)
            self._known[clip_id] = judge(clip.frames, clip.prompt).score
        return self._known[clip_id]


def labellers(people: Sequence[Person], seed: int) -> list[SimulatedLabeller]:
    return [SimulatedLabeller(**person.model_dump(), seed=seed) for person in people]


def vote_all(
    campaigns: Campaigns, campaign_id: str, people: Sequence[SimulatedLabeller], judging: Judging
) -> Generator[JobProgress, None, None]:
    """Let each labeller in turn vote on the assigned pairs, until no pairs are left. Can be resumed."""
    waiting = list(people)
    while waiting:
        for person in list(waiting):
            given = campaigns.next_pairs(campaign_id, person.name)
            if not given:
                waiting.remove(person)
            for one in given:
                campaigns.vote(ballot(person, one, judging))
        far = campaigns.progress(campaign_id)
        yield JobProgress(phase="vote", step=far.votes, of=far.target)


def ballot(person: SimulatedLabeller, given: Assignment, judging: Judging) -> Vote:
    """Build the vote on an assignment.

    Its id derives from the assignment, so that a vote that is sent twice counts once.
    """
    return Vote.read(
        {
            "pair_id": given.pair_id,
            "choice": _choice(person, given, judging),
            "shown_left": given.left_clip,
            "client_uuid": f"{given.campaign_id}-{given.id:08d}",
        },
        person.name,
    )


def _choice(person: SimulatedLabeller, given: Assignment, judging: Judging) -> Choice:
    left, right = judging.score(given.left_clip), judging.score(given.right_clip)
    if left is None or right is None:
        return "skip"
    return person.choose(left, right, f"{given.pair_id} {given.left_clip}")
