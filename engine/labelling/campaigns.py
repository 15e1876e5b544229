"""`Campaigns`: labelling campaigns in the database, with their pairs, assignments and votes.

A pair can be assigned as soon as both of its clips exist; `engine.jobs.handlers.campaign_clips` queues jobs for the
missing clips. Every method is one transaction, except `next_pairs`, which checks files between two transactions.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, select, update

from engine.clock import now
from engine.errors import ConfigError, DailiesError, StoreError
from engine.generation.validation import check_request
from engine.labelling.assignment import (
    Assignment,
    AssignmentRequest,
    assignment_of,
    assignments,
    clamp_future_assignments,
    open_assignments,
    slot_for,
    target_reached,
    update_free_slots,
)
from engine.labelling.campaign_spec import (
    Campaign,
    CampaignSpec,
    Pair,
    campaign_clips,
    make_pairs,
    new_campaign_id,
)
from engine.labelling.pair_scheduling import assign_from_schedule, compute_schedule
from engine.labelling.progress import (
    CampaignProgress,
    CampaignTotals,
    LabellerStatus,
    read_labeller_status,
    read_progress,
    read_totals,
)
from engine.labelling.vote_intake import IncomingVote, store_votes
from engine.labelling.vote_records import (
    assignment_to_fill,
    campaign_of_pair,
    end_vote,
    store_vote,
    stored_vote,
    votes_query,
)
from engine.labelling.votes import NAME_LIMIT, StoredVote, Vote
from engine.request import GenerationRequest
from engine.runs.adapters import list_adapters
from engine.runs.checkpoints import list_checkpoints, publish_named
from engine.storage.clip_files import has_files
from engine.storage.database import pieces
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS, CAMPAIGN_CLIPS, CAMPAIGNS, CLIPS, LABELLERS, PAIRS, VOTES

PAIRS_AHEAD = 4  # the pair on the page and the next three, which the page prefetches


class Campaigns:
    """The campaigns of one library. Safe to use from several threads and processes."""

    def __init__(self, store: Library) -> None:
        self.store = store
        self._database = store.database

    def create(self, spec: CampaignSpec, key: str | None = None) -> Campaign:
        """Store a campaign and its pairs, and publish competing checkpoints as adapters.

        `key` makes the call idempotent: a repeated request with the same key returns the campaign that the first one
        created. Raises ConfigError when the campaign would have no pairs, or names unknown clips, models or adapters;
        then nothing is changed.
        """
        campaign = Campaign(id=new_campaign_id(key), spec=spec, created_at=now())
        if (existing := self._created_before(campaign)) is not None:
            return existing
        clips = campaign_clips(spec, self.store.existing(spec.clip_ids).values())
        adapters = {model: self._adapters(model) for model in {entrant.model for entrant in spec.entrants}}
        for request in (clip.request for clip in clips if clip.request):
            check_request(request, adapters[request.model])
        pairs = make_pairs(campaign.id, spec, clips)
        # After all that can refuse the campaign, and before the lock that votes wait for: files are copied for minutes.
        self._publish(spec)
        with self._database.writing() as connection:
            row = {"id": campaign.id, "title": spec.title, "spec": spec.model_dump(mode="json")}
            connection.execute(CAMPAIGNS.insert().values(**row, created_at=campaign.created_at))
            connection.execute(CAMPAIGN_CLIPS.insert(), [clip.row(campaign.id) for clip in clips])
            connection.execute(PAIRS.insert(), [pair.row(campaign) for pair in pairs])
        return campaign

    def _created_before(self, campaign: Campaign) -> Campaign | None:
        """Return the campaign that the same request created. Raises ConfigError when its settings differ."""
        with self._database.reading() as connection:
            row = connection.execute(select(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign.id)).one_or_none()
        if row is None:
            return None
        existing = Campaign.of(row)
        if existing.spec != campaign.spec:
            raise ConfigError(f"This request created the campaign {existing.id} with other settings: try again.")
        return existing

    def discard(self, campaign_id: str) -> None:
        """Remove a campaign that could not be started. A campaign with assignments is kept."""
        assigned = exists().where(ASSIGNMENTS.c.campaign_id == campaign_id)
        with self._database.writing() as connection:
            connection.execute(delete(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id, ~assigned))

    def get(self, campaign_id: str) -> Campaign:
        """Return a campaign. Raises StoreError when it does not exist."""
        with self._database.reading() as connection:
            return _find(connection, campaign_id)

    def change(self, campaign_id: str, **changes: object) -> Campaign:
        """Change title, instructions, keys, target_votes or deleted. Raises ConfigError for an invalid value."""
        with self._database.writing() as connection:
            spec = _lock(connection, campaign_id).spec.changed(**changes)
            values = update(CAMPAIGNS).values(title=spec.title, spec=spec.model_dump(mode="json"))
            connection.execute(values.where(CAMPAIGNS.c.id == campaign_id))
            return _find(connection, campaign_id)

    def close(self, campaign_id: str) -> Campaign:
        return self._set_closed(campaign_id, now())  # votes and pairs are kept

    def reopen(self, campaign_id: str) -> Campaign:
        return self._set_closed(campaign_id, None)

    def pairs(self, campaign_id: str) -> list[Pair]:
        """Return all pairs of a campaign."""
        with self._database.reading() as connection:
            rows = connection.execute(select(PAIRS).where(PAIRS.c.campaign_id == campaign_id).order_by(PAIRS.c.shuffle))
            return [Pair.of(row) for row in rows]

    def next_pairs(self, campaign_id: str, labeller: str, count: int = PAIRS_AHEAD) -> list[Assignment]:
        """Return the pairs to judge next: open assignments first, then new ones; [] when all is done.

        Repeated calls return the same pairs with the same sides. Pairs with missing files are left out, see
        `pairs_without_files`; their files are checked again once no other pair is left. Raises StoreError for an
        unknown campaign, ConfigError for a labeller without a name.
        """
        if not 0 < len(labeller) <= NAME_LIMIT:
            raise ConfigError(f"A labeller's name has 1 to {NAME_LIMIT} characters, but got {labeller[:40]!r}.")
        while True:
            assigned = [*self._assign(campaign_id, labeller, count)][:count]
            broken = [item.pair_id for item in assigned if not self._has_files(item.left_clip, item.right_clip)]
            if broken:
                self._mark(broken, gone_at=now())
            elif len(assigned) >= count or not self._restore_pairs(campaign_id):
                return assigned

    def vote(self, vote: Vote) -> StoredVote:
        """Store a vote, once per `client_uuid`; a repeated call returns the stored vote, even if it differs.

        Raises StoreError when the pair was not assigned to this labeller with this clip on the left or already has
        their vote, ConfigError for an axis that the campaign does not have.
        """
        with self._database.writing() as connection:
            assignment = assignment_to_fill(connection, vote)
            if isinstance(assignment, StoredVote):
                return assignment
            if assignment.voted_at is not None:
                raise StoreError(
                    f"{vote.labeller[:40]} has voted on the pair {vote.pair_id} already, perhaps in another window: "
                    "undo or edit that vote."
                )
            return store_vote(connection, vote, assignment, assignment.slot)

    def store_votes(self, campaign_id: str, rows: Sequence[IncomingVote]) -> "list[bool | DailiesError]":
        """Store a table of votes in one transaction, see `engine.labelling.vote_intake`.

        Raises StoreError for an unknown campaign.
        """
        with self._database.writing() as connection:
            campaign = _lock(connection, campaign_id)
            return store_votes(connection, campaign.id, campaign.spec, rows)

    def undo(self, campaign_id: str, labeller: str, client_uuid: str | None = None) -> StoredVote:
        """Withdraw a vote of the labeller, reopen its assignment, and return the vote.

        `client_uuid` selects the vote; the default is the labeller's last current vote. Withdrawing the same vote again
        returns it unchanged, so that a request may be repeated. Raises StoreError when there is no vote to withdraw.
        """
        with self._database.writing() as connection:
            spec = _lock(connection, campaign_id).spec
            query = votes_query().where(VOTES.c.campaign_id == campaign_id, VOTES.c.labeller == labeller)
            query = query.where(VOTES.c.client_uuid == client_uuid) if client_uuid else query.where(VOTES.c.current)
            last = connection.execute(query.order_by(VOTES.c.number.desc()).limit(1)).one_or_none()
            if last is None:
                raise StoreError(f"{labeller[:40]} has no vote in this campaign to undo.")
            if last.ended_as == "edited":
                raise StoreError(
                    "That vote was changed in the meantime, perhaps in another window: load the page again."
                )
            if last.ended_as == "undone":
                return stored_vote(last)
            undone = stored_vote(last)
            end_vote(connection, undone, "undone")
            where = ASSIGNMENTS.c.id == last.assignment_id
            slot = slot_for(connection, last, spec)
            connection.execute(update(ASSIGNMENTS).where(where).values(voted_at=None, slot=slot, created_at=now()))
            update_free_slots(connection, last.pair_id, last.slot, slot)
            return undone

    def last_vote(self, campaign_id: str, labeller: str) -> str | None:
        """Return the `client_uuid` of the labeller's last current vote, which `undo` would withdraw."""
        query = select(VOTES.c.client_uuid).where(VOTES.c.campaign_id == campaign_id, VOTES.c.labeller == labeller)
        query = query.where(VOTES.c.current)
        with self._database.reading() as connection:
            return connection.scalar(query.order_by(VOTES.c.number.desc()).limit(1))

    def assignment(self, assignment_id: int, labeller: str | None) -> Assignment:
        """Return an assignment of a labeller (None: of any labeller).

        Raises StoreError when it does not exist.
        """
        query = assignments().where(ASSIGNMENTS.c.id == assignment_id)
        if labeller is not None:
            query = query.where(ASSIGNMENTS.c.labeller == labeller)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise StoreError("This pair was not assigned to you: load the page again.")
        return assignment_of(row)

    def edit(self, vote: Vote) -> StoredVote:
        """Replace the labeller's earlier vote on the same pair and sides; the earlier one is kept as history.

        The new vote has its own `client_uuid`. Raises StoreError when there is no earlier vote; otherwise as `vote`.
        """
        with self._database.writing() as connection:
            spec = _lock(connection, campaign_of_pair(connection, vote.pair_id)).spec  # slots are given out under it
            assignment = assignment_to_fill(connection, vote)
            if isinstance(assignment, StoredVote):
                return assignment
            query = votes_query().where(VOTES.c.assignment_id == assignment.id, VOTES.c.current)
            earlier = connection.execute(query).one_or_none()
            if earlier is None:
                raise StoreError(f"{vote.labeller[:40]} has no vote on the pair {vote.pair_id} to edit: vote first.")
            end_vote(connection, stored_vote(earlier), "edited")
            return store_vote(connection, vote, assignment, slot_for(connection, assignment, spec))

    def votes(
        self, campaign_id: str, labeller: str | None = None, history: bool = False, last: int | None = None
    ) -> list[StoredVote]:
        """Return the `last` votes (None: all) in order of arrival.

        With `history` also the undone, edited and dropped ones.
        """
        query = votes_query().where(VOTES.c.campaign_id == campaign_id).order_by(VOTES.c.number.desc()).limit(last)
        if labeller is not None:
            query = query.where(VOTES.c.labeller == labeller)
        if not history:
            query = query.where(VOTES.c.current, PAIRS.c.dropped_at.is_(None))
        with self._database.reading() as connection:
            return [stored_vote(row) for row in connection.execute(query)][::-1]

    def revision(self, campaign_id: str) -> str:
        """Return a token that changes with the votes and with the dropped pairs."""
        query = select(func.coalesce(func.sum(LABELLERS.c.changes), 0)).where(LABELLERS.c.campaign_id == campaign_id)
        of = (PAIRS.c.campaign_id == campaign_id, PAIRS.c.dropped_at.is_not(None))
        dropped = select(func.max(PAIRS.c.dropped_at), func.count()).where(*of)
        with self._database.reading() as connection:
            return ":".join(str(part) for each in (query, dropped) for part in connection.execute(each).one())

    def totals(self) -> dict[str, CampaignTotals]:
        """Return the pairs and votes of all campaigns, by campaign; cheaper than `progress`."""
        with self._database.reading() as connection:
            return read_totals(connection)

    def progress(self, campaign_id: str) -> CampaignProgress:
        """Return the progress of a campaign, in total and per labeller."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            return read_progress(connection, campaign.id, campaign.spec, is_open=campaign.is_open)

    def labeller_status(self, campaign_id: str, labeller: str) -> LabellerStatus:
        """Return the progress of one labeller; cheaper than `progress`, since voting needs it with every vote."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            return read_labeller_status(connection, campaign.id, campaign.spec, labeller, is_open=campaign.is_open)

    def pairs_without_files(self, campaign_id: str) -> list[Pair]:
        """Return the pairs that are not assigned because files of their clips are missing."""
        query = select(PAIRS).where(PAIRS.c.campaign_id == campaign_id, PAIRS.c.gone_at.is_not(None))
        with self._database.reading() as connection:
            return [Pair.of(row) for row in connection.execute(query)]

    def _restore_pairs(self, campaign_id: str) -> bool:
        """Make pairs whose files are back assignable again; return whether there were any."""
        gone = self.pairs_without_files(campaign_id)
        if restored := [pair.id for pair in gone if self._has_files(pair.clip_a, pair.clip_b)]:
            self._mark(restored, gone_at=None)
        return bool(restored)

    def missing_requests(self, campaign_id: str) -> list[GenerationRequest]:
        """Return the requests of clips that were never generated, were deleted, or whose files are missing."""
        query = select(CAMPAIGN_CLIPS.c.clip_id, CAMPAIGN_CLIPS.c.request, CLIPS.c.deleted_at, CLIPS.c.id)
        query = query.outerjoin(CLIPS, CLIPS.c.id == CAMPAIGN_CLIPS.c.clip_id)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(CAMPAIGN_CLIPS.c.campaign_id == campaign_id)).all()
        requests = [
            GenerationRequest(**row.request)
            for row in rows
            if row.request and (row.id is None or row.deleted_at or not has_files(self.store.workspace, row.clip_id))
        ]
        # Clips of a pair are adjacent, so the first pairs can be assigned while later clips are still generated.
        return sorted(
            requests, key=lambda request: (request.prompt, request.seed, request.model, request.adapter or "")
        )

    def list(self, *, deleted: bool = False) -> list[Campaign]:
        """Return the campaigns that are not deleted, or the deleted ones, newest first."""
        query = select(CAMPAIGNS).order_by(CAMPAIGNS.c.created_at.desc(), CAMPAIGNS.c.id)
        with self._database.reading() as connection:
            found = [Campaign.of(row) for row in connection.execute(query)]
        return [campaign for campaign in found if campaign.spec.deleted == deleted]

    def _assign(self, campaign_id: str, labeller: str, count: int) -> Sequence[Assignment]:
        """Return open assignments, topped up to `count` with new ones; none for a closed campaign."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            request = AssignmentRequest(campaign_id=campaign.id, spec=campaign.spec, labeller=labeller, at=now())
            is_active = campaign.is_open and not target_reached(connection, request)
            current = open_assignments(connection, request) if is_active else []
        if len(current) >= count or not is_active:  # such as after a reload: no lock is needed
            return current
        self._renew_schedule(campaign_id)
        with self._database.writing() as connection:
            if not _lock(connection, campaign_id).is_open or target_reached(connection, request):
                return []
            clamp_future_assignments(connection, request)
            plan = connection.scalar(select(CAMPAIGNS.c.plan).where(CAMPAIGNS.c.id == campaign_id))
            current = open_assignments(connection, request)
            rest = assign_from_schedule(connection, request, plan, count - len(current))
            if rest != plan:
                connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(plan=rest))
            return open_assignments(connection, request)

    def _renew_schedule(self, campaign_id: str) -> None:
        """Compute a new schedule when the stored one is out of date.

        Scheduling reads the whole campaign, so it runs before the lock is taken. Of two concurrent schedules the later
        one is kept.
        """
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            stored = connection.scalar(select(CAMPAIGNS.c.plan).where(CAMPAIGNS.c.id == campaign_id))
            plan = compute_schedule(connection, campaign.id, campaign.spec, stored) if campaign.is_open else None
        if plan is not None:
            with self._database.writing() as connection:
                connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(plan=plan))

    def _adapters(self, model: str) -> tuple[str, ...]:
        """Return the adapters that can be entrants with a model, including unpublished checkpoints."""
        workspace = self.store.workspace
        adapters = [adapter.name for adapter in list_adapters(workspace, model)]
        return (*adapters, *(checkpoint.name for checkpoint in list_checkpoints(workspace, model)))

    def _publish(self, spec: CampaignSpec) -> None:
        for model in {entrant.model for entrant in spec.entrants}:
            named = [entrant.adapter for entrant in spec.entrants if entrant.model == model and entrant.adapter]
            publish_named(self.store.workspace, model, named)

    def _has_files(self, *clip_ids: str) -> bool:
        return all(has_files(self.store.workspace, clip_id) for clip_id in clip_ids)

    def set_dropped(self, pair_id: str, dropped: bool = True) -> None:
        """Drop a pair, so that it is not assigned and its votes do not count, or restore it."""
        self._mark([pair_id], dropped_at=func.coalesce(PAIRS.c.dropped_at, now()) if dropped else None)

    def _mark(self, pair_ids: Collection[str], **values: Any) -> None:
        with self._database.writing() as connection:
            for piece in pieces(pair_ids):
                connection.execute(update(PAIRS).where(PAIRS.c.id.in_(piece)).values(**values))

    def _set_closed(self, campaign_id: str, closed_at: datetime | None) -> Campaign:
        with self._database.writing() as connection:
            if (_lock(connection, campaign_id).closed_at is None) == (closed_at is None):
                return _find(connection, campaign_id)
            connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(closed_at=closed_at))
            return _find(connection, campaign_id)


def _find(connection: Connection, campaign_id: str, query: Select[Any] | None = None) -> Campaign:
    query = select(CAMPAIGNS) if query is None else query
    row = connection.execute(query.where(CAMPAIGNS.c.id == campaign_id)).one_or_none()
    if row is None:
        raise StoreError(f"There is no campaign {campaign_id[:40]!r}: `dailies campaigns ls` lists them.")
    return Campaign.of(row)


def _lock(connection: Connection, campaign_id: str) -> Campaign:
    """Return the campaign, locked until the transaction ends (SQLite needs no lock: it has one writer)."""
    return _find(connection, campaign_id, select(CAMPAIGNS).with_for_update(key_share=True))
