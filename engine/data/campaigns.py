"""`Campaigns`: labelling campaigns in the database: their pairs, who is asked about which, and every vote.

A pair is asked about as soon as both of its clips are there; `engine.jobs.campaign_clips` files the jobs that make what
is missing. Every method is one transaction, but for `next_pairs`, which looks at files between two.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from engine.config.presets import check_request
from engine.data.adapters import list_adapters
from engine.data.assigning import (
    Asking,
    Assignment,
    assign_given,
    free_slot,
    open_assignments,
)
from engine.data.campaign_spec import CampaignSpec, Contender, Pair, contenders, make_pairs
from engine.data.casting import assignment_to_fill, end_vote, store_vote, stored_vote, votes_query
from engine.data.checkpoints import publish_named
from engine.data.clip_files import has_files
from engine.data.planning import give_planned, new_plan
from engine.data.progress import CampaignProgress, Standing, read_progress, read_standing
from engine.data.store import Store, now
from engine.data.tables import ASSIGNMENTS, CAMPAIGN_CLIPS, CAMPAIGNS, CLIPS, PAIRS, VOTES
from engine.data.votes import NAME_LIMIT, StoredVote, Vote
from engine.errors import ConfigError, StoreError
from engine.generation.request import GenerationRequest
from engine.seeds import seed_for

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

    def __init__(self, store: Store) -> None:
        self.store = store
        self._database = store.database

    def create(self, spec: CampaignSpec) -> Campaign:
        """Store a campaign and its pairs; checkpoints that compete become adapters. Raises ConfigError when it would
        have no pairs, or of unknown clips, models or adapters."""
        clips = contenders(spec, self.store.known(spec.clip_ids).values())
        adapters = {model: self._adapters(model, spec) for model in {entrant.model for entrant in spec.entrants}}
        for request in (clip.request for clip in clips if clip.request):
            check_request(request, adapters[request.model])
        campaign = Campaign(id=_new_id(), spec=spec, created_at=now())
        pairs = make_pairs(campaign.id, spec, clips)
        with self._database.writing() as connection:
            row = {"id": campaign.id, "title": spec.title, "spec": spec.model_dump(mode="json")}
            connection.execute(CAMPAIGNS.insert().values(**row, created_at=campaign.created_at))
            connection.execute(CAMPAIGN_CLIPS.insert(), [_clip_row(campaign.id, clip) for clip in clips])
            connection.execute(PAIRS.insert(), [_pair_row(campaign, pair) for pair in pairs])
        return campaign

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

    def give(self, campaign_id: str, vote: Vote) -> None:
        """Assign a vote's pair to its labeller with its sides, as a table of votes says; nothing where it is already.

        A second showing to the same labeller, sides swapped, is a repeat. Raises StoreError: no such campaign or pair.
        """
        with self._database.writing() as connection:
            campaign = _lock(connection, campaign_id)
            asking = Asking(campaign_id=campaign.id, spec=campaign.spec, labeller=vote.labeller, at=now())
            assign_given(connection, asking, vote.pair_id, vote.shown_left)

    def undo(self, campaign_id: str, labeller: str) -> StoredVote:
        """Withdraw the labeller's last vote, which comes back, and give its pair again, as it was shown. Again: the one
        before it.

        Raises StoreError when there is none to withdraw.
        """
        with self._database.writing() as connection:
            spec = _lock(connection, campaign_id).spec
            query = votes_query().where(VOTES.c.campaign_id == campaign_id, ASSIGNMENTS.c.labeller == labeller)
            last = connection.execute(
                query.where(VOTES.c.current).order_by(VOTES.c.number.desc()).limit(1)
            ).one_or_none()
            if last is None:
                raise StoreError(f"{labeller[:40]} has no vote in this campaign to undo.")
            end_vote(connection, last.number, "undone")
            where = ASSIGNMENTS.c.id == last.assignment_id
            slot = last.slot
            if slot is None and not last.is_repeat:
                slot = free_slot(connection, last.pair_id, spec)
            connection.execute(update(ASSIGNMENTS).where(where).values(voted_at=None, slot=slot))
            return stored_vote(last)

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

    def standing(self, campaign_id: str, labeller: str) -> Standing:
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
            asking = Asking(campaign_id=campaign.id, spec=campaign.spec, labeller=labeller, at=now())
            found = open_assignments(connection, asking) if campaign.is_open else []
        if len(found) >= count or not campaign.is_open:  # as after a reload: it takes no lock to say the same again
            return found
        self._renew_plan(campaign_id)
        with self._database.writing() as connection:
            _lock(connection, campaign_id)
            plan = connection.scalar(select(CAMPAIGNS.c.plan).where(CAMPAIGNS.c.id == campaign_id))
            found = open_assignments(connection, asking)
            rest = give_planned(connection, asking, plan, count - len(found))
            if rest != plan:
                connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(plan=rest))
            return open_assignments(connection, asking)

    def _renew_plan(self, campaign_id: str) -> None:
        """Planning reads the whole campaign: done before the lock is taken; of two plans at once the later stays."""
        with self._database.reading() as connection:
            campaign = _find(connection, campaign_id)
            stored = connection.scalar(select(CAMPAIGNS.c.plan).where(CAMPAIGNS.c.id == campaign_id))
            plan = new_plan(connection, campaign.id, campaign.spec, stored) if campaign.is_open else None
        if plan is not None:
            with self._database.writing() as connection:
                connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(plan=plan))

    def _adapters(self, model: str, spec: CampaignSpec) -> tuple[str, ...]:
        """The model's adapters, the checkpoints that compete among them."""
        named = [one.adapter for one in spec.entrants if one.model == model and one.adapter]
        publish_named(self.store.workspace, model, named)
        return tuple(adapter.name for adapter in list_adapters(self.store.workspace, model))

    def _has_files(self, *clip_ids: str) -> bool:
        return all(has_files(self.store.workspace, clip_id) for clip_id in clip_ids)

    def _mark_gone(self, pair_ids: Collection[str], at: datetime | None) -> None:
        with self._database.writing() as connection:
            connection.execute(update(PAIRS).where(PAIRS.c.id.in_(list(pair_ids))).values(gone_at=at))

    def _set_closed(self, campaign_id: str, closed_at: datetime | None) -> Campaign:
        with self._database.writing() as connection:
            _find(connection, campaign_id)
            connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(closed_at=closed_at))
            return _find(connection, campaign_id)


def _new_id() -> str:
    """Begins with a letter, so that no reader of `campaign=...` takes it for a number."""
    return f"c{secrets.token_hex(4)[1:]}"


def _find(connection: Connection, campaign_id: str, query: Select[Any] | None = None) -> Campaign:
    chosen = select(CAMPAIGNS) if query is None else query
    row = connection.execute(chosen.where(CAMPAIGNS.c.id == campaign_id)).one_or_none()
    if row is None:
        raise StoreError(f"There is no campaign {campaign_id[:40]!r}: `dailies campaigns ls` lists them.")
    return _campaign(row)


def _lock(connection: Connection, campaign_id: str) -> Campaign:
    """The campaign, and nobody else assigns its pairs until the transaction ends. (On SQLite every writer is alone.)"""
    return _find(connection, campaign_id, select(CAMPAIGNS).with_for_update())


def _campaign(row: Row[Any]) -> Campaign:
    return Campaign(id=row.id, spec=CampaignSpec(**row.spec), created_at=row.created_at, closed_at=row.closed_at)


def _clip_row(campaign_id: str, clip: Contender) -> Mapping[str, Any]:
    request = clip.request.model_dump(mode="json") if clip.request else None
    return {"campaign_id": campaign_id, "clip_id": clip.clip_id, "entrant": clip.entrant, "request": request}


def _pair_row(campaign: Campaign, pair: Pair) -> Mapping[str, Any]:
    shuffle = (seed_for(campaign.spec.seed, prompt=f"shuffle {pair.id}") % 2**53) / 2**53
    return {**asdict(pair), "campaign_id": campaign.id, "shuffle": shuffle}


def _pair(row: Row[Any]) -> Pair:
    return Pair(**{name: getattr(row, name) for name in Pair.__dataclass_fields__})
