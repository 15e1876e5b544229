"""`Campaigns`: labelling campaigns in the database: their pairs, who is asked about which, and every vote.

A pair is asked about as soon as both of its clips are there; `engine.jobs.handlers.campaign_clips` files the jobs that
make what is missing. Every method is one transaction, but for `next_pairs`, which looks at files between two.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, exists, func, select, update

from engine.errors import ConfigError, DailiesError, StoreError
from engine.generation.validation import check_request
from engine.labelling.assignment import (
    Assignment,
    AssignmentRequest,
    assignment_of,
    assignments,
    free_slot,
    has_its_votes,
    mend_leases,
    open_assignments,
)
from engine.labelling.campaign_spec import CampaignClip, CampaignSpec, Pair, contenders, make_pairs
from engine.labelling.pair_scheduling import assign_from_schedule, compute_schedule
from engine.labelling.progress import CampaignProgress, LabellerStatus, read_progress, read_standing
from engine.labelling.vote_intake import IncomingVote, take_votes
from engine.labelling.vote_records import assignment_to_fill, end_vote, store_vote, stored_vote, votes_query
from engine.labelling.votes import NAME_LIMIT, StoredVote, Vote
from engine.request import GenerationRequest
from engine.runs.adapters import list_adapters
from engine.runs.checkpoints import list_checkpoints, publish_named
from engine.seeds import seed_for
from engine.storage.clip_files import has_files
from engine.storage.library import Library, now
from engine.storage.schema import ASSIGNMENTS, CAMPAIGN_CLIPS, CAMPAIGNS, CLIPS, PAIRS, VOTES

PAIRS_AHEAD = 4  # the pair on the page and the next three, which it fetches meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as the database knows it. Nobody is asked about a closed one; votes under way are still taken."""

    id: str
    spec: CampaignSpec
    created_at: datetime
    closed_at: datetime | None = None

    @property
    def title(self) -> str:
        return self.spec.title

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


class Campaigns:
    """The campaigns of one store. Safe in many threads and processes."""

    def __init__(self, store: Library) -> None:
        self.store = store
        self._database = store.database

    def create(self, spec: CampaignSpec, key: str | None = None) -> Campaign:
        """Store a campaign and its pairs; checkpoints that compete become adapters.

        `key` names the request to create it: the same request sent again returns the campaign that it created. Raises
        ConfigError when it would have no pairs, or of unknown clips, models or adapters; then nothing is changed.
        """
        campaign = Campaign(id=_new_id(key), spec=spec, created_at=now())
        if (known := self._created_before(campaign)) is not None:
            return known
        clips = contenders(spec, self.store.existing(spec.clip_ids).values())
        adapters = {model: self._adapters(model) for model in {entrant.model for entrant in spec.entrants}}
        for request in (clip.request for clip in clips if clip.request):
            check_request(request, adapters[request.model])
        pairs = make_pairs(campaign.id, spec, clips)
        with self._database.writing() as connection:
            row = {"id": campaign.id, "title": spec.title, "spec": spec.model_dump(mode="json")}
            connection.execute(CAMPAIGNS.insert().values(**row, created_at=campaign.created_at))
            connection.execute(CAMPAIGN_CLIPS.insert(), [_clip_row(campaign.id, clip) for clip in clips])
            connection.execute(PAIRS.insert(), [_pair_row(campaign, pair) for pair in pairs])
            self._publish(spec)  # the last thing that may fail: what is refused publishes nothing
        return campaign

    def _created_before(self, campaign: Campaign) -> Campaign | None:
        """The campaign that the same request created. Raises ConfigError where its id is another's."""
        with self._database.reading() as connection:
            row = connection.execute(select(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign.id)).one_or_none()
        if row is None:
            return None
        known = _campaign(row)
        if known.spec != campaign.spec:
            raise ConfigError(f"The campaign {known.id} was created by this request with other settings: try again.")
        return known

    def discard(self, campaign_id: str) -> None:
        """Remove a campaign that was just created and could not be begun; one that somebody was asked about stays."""
        asked = exists().where(ASSIGNMENTS.c.campaign_id == campaign_id)
        with self._database.writing() as connection:
            connection.execute(delete(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id, ~asked))

    def get(self, campaign_id: str) -> Campaign:
        """Raises StoreError when there is no such campaign."""
        with self._database.reading() as connection:
            return _find(connection, campaign_id)

    def close(self, campaign_id: str) -> Campaign:
        """Ask nobody any more; nothing is lost."""
        return self._set_closed(campaign_id, now())

    def reopen(self, campaign_id: str) -> Campaign:
        return self._set_closed(campaign_id, None)

    def pairs(self, campaign_id: str) -> list[Pair]:
        """All pairs of a campaign."""
        with self._database.reading() as connection:
            rows = connection.execute(select(PAIRS).where(PAIRS.c.campaign_id == campaign_id).order_by(PAIRS.c.shuffle))
            return [_pair(row) for row in rows]

    def next_pairs(self, campaign_id: str, labeller: str, count: int = PAIRS_AHEAD) -> list[Assignment]:
        """What the labeller is to judge next: what was given and not voted on, then new pairs; [] when all is done.

        Asked again, it gives the same pairs with the same sides. Pairs whose files are gone are left out; `gone` names
        them, and once nothing else is left it is looked whether they are back. Raises StoreError for an unknown
        campaign, ConfigError for a labeller without a name.
        """
        if not 0 < len(labeller) <= NAME_LIMIT:
            raise ConfigError(f"A labeller's name has 1 to {NAME_LIMIT} characters, but got {labeller[:40]!r}.")
        while True:
            found = [*self._assign(campaign_id, labeller, count)][:count]
            broken = [one.pair_id for one in found if not self._has_files(one.left_clip, one.right_clip)]
            if broken:
                self._mark_gone(broken, now())
            elif len(found) >= count or not self._look_again(campaign_id):
                return found

    def vote(self, vote: Vote) -> StoredVote:
        """Store a vote, once for each `client_uuid`: sent again, what is stored comes back, whatever it says now.

        Raises StoreError: the pair was not given to this labeller with this clip on the left, or it was voted on
        already; ConfigError: an axis that the campaign does not have.
        """
        with self._database.writing() as connection:
            assignment = assignment_to_fill(connection, vote)
            if isinstance(assignment, StoredVote):
                return assignment
            if assignment.voted_at is not None:
                raise StoreError(
                    f"{vote.labeller[:40]} has voted on the pair {vote.pair_id} already, in another window perhaps: "
                    "undo or edit that vote."
                )
            return store_vote(connection, vote, assignment)

    def take(self, campaign_id: str, rows: Sequence[IncomingVote]) -> "list[bool | DailiesError]":
        """Store a table of votes, all of it or, when the database fails, none; see `engine.labelling.vote_intake`.

        Raises StoreError for an unknown campaign.
        """
        with self._database.writing() as connection:
            campaign = _lock(connection, campaign_id)
            return take_votes(connection, campaign.id, campaign.spec, rows)

    def undo(self, campaign_id: str, labeller: str, client_uuid: str | None = None) -> StoredVote:
        """Withdraw a vote of the labeller, which comes back, and give its pair again, as it was shown.

        `client_uuid` names the vote; without it, it is the last one that stands. One that is named and was withdrawn
        before comes back as it is, so the same request may be sent twice. Raises StoreError when there is none to
        withdraw.
        """
        with self._database.writing() as connection:
            spec = _lock(connection, campaign_id).spec
            query = votes_query().where(VOTES.c.campaign_id == campaign_id, ASSIGNMENTS.c.labeller == labeller)
            query = query.where(VOTES.c.client_uuid == client_uuid) if client_uuid else query.where(VOTES.c.current)
            last = connection.execute(query.order_by(VOTES.c.number.desc()).limit(1)).one_or_none()
            if last is None:
                raise StoreError(f"{labeller[:40]} has no vote in this campaign to undo.")
            if last.ended_as == "edited":
                raise StoreError("That vote was changed since, in another window perhaps: load the page again.")
            if last.ended_as == "undone":
                return stored_vote(last)
            end_vote(connection, last.number, "undone")
            where = ASSIGNMENTS.c.id == last.assignment_id
            slot = last.slot
            if slot is None and not last.is_repeat:
                slot = free_slot(connection, last.pair_id, spec)
            connection.execute(update(ASSIGNMENTS).where(where).values(voted_at=None, slot=slot, created_at=now()))
            return stored_vote(last)

    def last_vote(self, campaign_id: str, labeller: str) -> str | None:
        """The `client_uuid` of the labeller's last vote that stands: what `undo` would withdraw."""
        query = select(VOTES.c.client_uuid).join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
        query = query.where(VOTES.c.campaign_id == campaign_id, ASSIGNMENTS.c.labeller == labeller, VOTES.c.current)
        with self._database.reading() as connection:
            return connection.scalar(query.order_by(VOTES.c.number.desc()).limit(1))

    def shown(self, assignment_id: int, labeller: str | None) -> Assignment:
        """A pair as it was given to a labeller (None: to whomever). Raises StoreError when there is none."""
        query = assignments().where(ASSIGNMENTS.c.id == assignment_id)
        if labeller is not None:
            query = query.where(ASSIGNMENTS.c.labeller == labeller)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise StoreError("This pair was not given to you: load the page again.")
        return assignment_of(row)

    def edit(self, vote: Vote) -> StoredVote:
        """Put a vote in the place of the labeller's earlier one on the same pair and sides, which history keeps.

        It has a `client_uuid` of its own. Raises StoreError when there is no earlier one; otherwise as `vote`.
        """
        with self._database.writing() as connection:
            assignment = assignment_to_fill(connection, vote)
            if isinstance(assignment, StoredVote):
                return assignment
            query = select(VOTES.c.number).where(VOTES.c.assignment_id == assignment.id, VOTES.c.current)
            number = connection.scalar(query)
            if number is None:
                raise StoreError(f"{vote.labeller[:40]} has no vote on the pair {vote.pair_id} to edit: vote first.")
            end_vote(connection, number, "edited")
            return store_vote(connection, vote, assignment)

    def votes(self, campaign_id: str, labeller: str | None = None, history: bool = False) -> list[StoredVote]:
        """The votes of a campaign in the order they came; with `history` also those undone or edited since."""
        query = votes_query().where(VOTES.c.campaign_id == campaign_id).order_by(VOTES.c.number)
        if labeller is not None:
            query = query.where(ASSIGNMENTS.c.labeller == labeller)
        if not history:
            query = query.where(VOTES.c.current)
        with self._database.reading() as connection:
            return [stored_vote(row) for row in connection.execute(query)]

    def pulse(self, campaign_id: str) -> str:
        """Changes with every vote that comes, is undone or is edited; the same as long as nothing does."""
        query = select(func.max(VOTES.c.number), func.count(VOTES.c.current)).where(VOTES.c.campaign_id == campaign_id)
        with self._database.reading() as connection:
            return ":".join(str(part) for part in connection.execute(query).one())

    def progress(self, campaign_id: str) -> CampaignProgress:
        """How far a campaign is, in all and for each labeller."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            return read_progress(connection, campaign.id, campaign.spec, is_open=campaign.is_open)

    def standing(self, campaign_id: str, labeller: str) -> LabellerStatus:
        """How far one labeller is: what the voting page asks for with every vote, so nobody else is counted."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            return read_standing(connection, campaign.id, campaign.spec, labeller, is_open=campaign.is_open)

    def gone(self, campaign_id: str) -> list[Pair]:
        """The pairs that nobody is asked about because files of their clips were found to be gone."""
        query = select(PAIRS).where(PAIRS.c.campaign_id == campaign_id, PAIRS.c.gone_at.is_not(None))
        with self._database.reading() as connection:
            return [_pair(row) for row in connection.execute(query)]

    def _look_again(self, campaign_id: str) -> bool:
        """Whether files of gone pairs are back; those are asked about again."""
        back = [pair.id for pair in self.gone(campaign_id) if self._has_files(pair.clip_a, pair.clip_b)]
        if back:
            self._mark_gone(back, None)
        return bool(back)

    def missing(self, campaign_id: str) -> list[GenerationRequest]:
        """The requests of the clips that are still to be made: never made, deleted, or their files gone."""
        query = select(CAMPAIGN_CLIPS.c.clip_id, CAMPAIGN_CLIPS.c.request, CLIPS.c.deleted_at, CLIPS.c.id)
        query = query.outerjoin(CLIPS, CLIPS.c.id == CAMPAIGN_CLIPS.c.clip_id)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(CAMPAIGN_CLIPS.c.campaign_id == campaign_id)).all()
        found = [
            GenerationRequest(**row.request)
            for row in rows
            if row.request and (row.id is None or row.deleted_at or not has_files(self.store.workspace, row.clip_id))
        ]
        # The clips of a pair next to each other: the first can be asked about while the last are still made.
        return sorted(found, key=lambda request: (request.prompt, request.seed, request.model, request.adapter or ""))

    def list(self) -> list[Campaign]:
        """All campaigns, the newest first."""
        query = select(CAMPAIGNS).order_by(CAMPAIGNS.c.created_at.desc(), CAMPAIGNS.c.id)
        with self._database.reading() as connection:
            return [_campaign(row) for row in connection.execute(query)]

    def _assign(self, campaign_id: str, labeller: str, count: int) -> Sequence[Assignment]:
        """What the labeller has not voted on yet, and new pairs up to `count`; nothing of a closed campaign."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            asking = AssignmentRequest(campaign_id=campaign.id, spec=campaign.spec, labeller=labeller, at=now())
            asks = campaign.is_open and not has_its_votes(connection, asking)
            found = open_assignments(connection, asking) if asks else []
        if len(found) >= count or not asks:  # as after a reload: it takes no lock to say the same again
            return found
        self._renew_plan(campaign_id)
        with self._database.writing() as connection:
            if not _lock(connection, campaign_id).is_open or has_its_votes(connection, asking):
                return []
            mend_leases(connection, asking)
            plan = connection.scalar(select(CAMPAIGNS.c.plan).where(CAMPAIGNS.c.id == campaign_id))
            found = open_assignments(connection, asking)
            rest = assign_from_schedule(connection, asking, plan, count - len(found))
            if rest != plan:
                connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(plan=rest))
            return open_assignments(connection, asking)

    def _renew_plan(self, campaign_id: str) -> None:
        """Planning reads the whole campaign: done before the lock is taken; of two plans at once the later stays."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            stored = connection.scalar(select(CAMPAIGNS.c.plan).where(CAMPAIGNS.c.id == campaign_id))
            plan = compute_schedule(connection, campaign.id, campaign.spec, stored) if campaign.is_open else None
        if plan is not None:
            with self._database.writing() as connection:
                connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(plan=plan))

    def _adapters(self, model: str) -> tuple[str, ...]:
        """What may compete with the model: its adapters, and the checkpoints that become adapters."""
        workspace = self.store.workspace
        adapters = [one.name for one in list_adapters(workspace, model)]
        return (*adapters, *(one.name for one in list_checkpoints(workspace, model)))

    def _publish(self, spec: CampaignSpec) -> None:
        for model in {entrant.model for entrant in spec.entrants}:
            named = [one.adapter for one in spec.entrants if one.model == model and one.adapter]
            publish_named(self.store.workspace, model, named)

    def _has_files(self, *clip_ids: str) -> bool:
        return all(has_files(self.store.workspace, clip_id) for clip_id in clip_ids)

    def _mark_gone(self, pair_ids: Collection[str], at: datetime | None) -> None:
        with self._database.writing() as connection:
            connection.execute(update(PAIRS).where(PAIRS.c.id.in_(list(pair_ids))).values(gone_at=at))

    def _set_closed(self, campaign_id: str, closed_at: datetime | None) -> Campaign:
        with self._database.writing() as connection:
            if _lock(connection, campaign_id).is_open == (closed_at is None):
                return _find(connection, campaign_id)
            connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(closed_at=closed_at))
            return _find(connection, campaign_id)


def _new_id(key: str | None = None) -> str:
    """Begins with a letter, so that no reader of `campaign=...` takes it for a number."""
    digits = hashlib.sha256(key.encode()).hexdigest() if key else secrets.token_hex(4)
    return f"c{digits[:7]}"


def _find(connection: Connection, campaign_id: str, query: Select[Any] | None = None) -> Campaign:
    chosen = select(CAMPAIGNS) if query is None else query
    row = connection.execute(chosen.where(CAMPAIGNS.c.id == campaign_id)).one_or_none()
    if row is None:
        raise StoreError(f"There is no campaign {campaign_id[:40]!r}: `dailies campaigns ls` lists them.")
    return _campaign(row)


def _lock(connection: Connection, campaign_id: str) -> Campaign:
    """The campaign, and nobody else assigns its pairs until the transaction ends. (On SQLite every writer is alone.)"""
    return _find(connection, campaign_id, select(CAMPAIGNS).with_for_update(key_share=True))


def _campaign(row: Row[Any]) -> Campaign:
    return Campaign(id=row.id, spec=CampaignSpec(**row.spec), created_at=row.created_at, closed_at=row.closed_at)


def _clip_row(campaign_id: str, clip: CampaignClip) -> Mapping[str, Any]:
    request = clip.request.model_dump(mode="json") if clip.request else None
    return {"campaign_id": campaign_id, "clip_id": clip.clip_id, "entrant": clip.entrant, "request": request}


def _pair_row(campaign: Campaign, pair: Pair) -> Mapping[str, Any]:
    shuffle = (seed_for(campaign.spec.seed, prompt=f"shuffle {pair.id}") % 2**53) / 2**53
    return {**asdict(pair), "campaign_id": campaign.id, "shuffle": shuffle}


def _pair(row: Row[Any]) -> Pair:
    return Pair(**{name: getattr(row, name) for name in Pair.__dataclass_fields__})
