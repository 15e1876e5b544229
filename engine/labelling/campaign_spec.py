"""`CampaignSpec`: the definition of a labelling campaign, and its pairs of clips. Imports no torch."""

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import combinations
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from engine.errors import ConfigError
from engine.generation.validation import read_request
from engine.request import PICTURE, SEED_LIMIT, GenerationRequest
from engine.seeds import seed_for
from engine.storage.library import ClipRecord
from engine.suggestions import validation_message
from rewards.models import FiniteModel, FrozenModel

Strategy = Literal["random", "informative", "disagreement"]
FORMER_STRATEGIES = {"uncertain": "informative", "dissent": "disagreement"}
"""Names in campaigns that were stored by an earlier version."""
AXES = ("visual_quality", "motion", "prompt_match", "identity")
"""Axes offered by the page; a campaign may define others."""
PAIR_LIMIT = 50_000


def new_campaign_id(key: str | None = None) -> str:
    """Return a campaign id: it begins with a letter, so that no reader parses it as a number."""
    return f"c{hashlib.sha256((key or secrets.token_hex(8)).encode()).hexdigest()[:7]}"


class Entrant(FiniteModel):
    """A competitor: a model, or a model with an adapter.

    The adapter may be a run, or a checkpoint of a run, "RUN@STEP".
    """

    model: str = "mini"
    adapter: str | None = None

    @property
    def key(self) -> str:
        """Name in rankings and pairs: "mini", or "mini + my_adapter"."""
        return f"{self.model} + {self.adapter}" if self.adapter else self.model


class PicturedPrompt(FrozenModel):
    """A prompt with pictures, as names in the workspace's store, or with a negative prompt."""

    prompt: str
    image: str | None = Field(None, pattern=PICTURE)
    last_image: str | None = Field(None, pattern=PICTURE)
    negative_prompt: str | None = None


class CampaignSpec(FiniteModel):
    """Definition of a campaign: either `prompts` and `entrants`, or `clip_ids`.

    Clips of `prompts` and `entrants` are generated as needed. With several entrants, a pair is the same variation of a
    prompt, under the same seed, by two of them. With a single entrant, a pair is two of its variations, as DPO on its
    own clips needs. With `clip_ids`, all clips of one prompt are paired.
    """

    title: str = Field(min_length=1, max_length=200)
    prompts: tuple[str | PicturedPrompt, ...] = ()
    entrants: tuple[Entrant, ...] = ()
    clip_ids: tuple[str, ...] = ()
    takes: int = Field(1, ge=1, le=100, description="clips of each prompt by each entrant")
    settings: dict[str, int | float] = Field(
        default_factory=dict, description="num_frames, width, height, fps, num_steps, guidance of the clips to be made"
    )
    labellers_per_pair: int = Field(
        1, ge=1, le=100, description="labellers who see each pair, and so its number of votes"
    )
    target_votes: int | None = Field(None, ge=1, description="votes after which the campaign is done; None = all")
    strategy: Strategy = "random"
    axes: tuple[str, ...] = Field((), description="the rubric, judged in addition to the overall choice; may be empty")
    repeat_share: float = Field(
        0.05, ge=0, le=0.5, description="share of the pairs shown that repeat an earlier pair with its sides swapped"
    )
    seed: int = Field(0, ge=0, lt=SEED_LIMIT)
    instructions: str = Field("", max_length=2000, description="what labellers should look at")
    keys: tuple[str, ...] = Field(
        (), description="keys of the votes for A, for B, tie and both bad: four digits; () = 1, 2, 3, 4"
    )
    deleted: bool = Field(False, description="a deleted campaign is not listed; its pairs and votes are kept")

    @field_validator("strategy", mode="before")
    @classmethod
    def _current_name(cls, strategy: Any) -> Any:
        return FORMER_STRATEGIES.get(strategy, strategy) if isinstance(strategy, str) else strategy

    @field_validator("keys")
    @classmethod
    def _four_digits(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if keys and (len(set(keys)) != 4 or len(keys) != 4 or any(key not in set("0123456789") for key in keys)):
            raise ValueError("give four different digits, such as 1234, or none")
        return keys

    @field_validator("prompts", "clip_ids", "axes", "entrants")
    @classmethod
    def _each_once(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.clip_ids) == bool(self.prompts or self.entrants):
            raise ValueError("give either prompts and entrants, or clip_ids")
        if not self.clip_ids and not (self.prompts and self.entrants):
            raise ValueError("prompts and entrants belong together: give both")
        if len(self.entrants) == 1 and self.takes < 2:
            raise ValueError("a single entrant needs takes = 2 or more, to be compared with itself")
        return self

    def changed(self, **changes: object) -> "CampaignSpec":
        """Return the definition with changes. Raises ConfigError, in one sentence, for an invalid value."""
        try:
            return CampaignSpec.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise ConfigError(validation_message(error, "The campaign", CampaignSpec.model_fields)) from error

    def requests(self) -> list[tuple[str, GenerationRequest]]:
        """Return `(entrant key, request)` of every clip to generate.

        Raises ConfigError for an unknown model or bad settings.
        """
        requests = []
        for entry in self.prompts:
            given = {"prompt": entry} if isinstance(entry, str) else entry.model_dump(exclude_none=True)
            for take in range(self.takes):
                seed = seed_for(self.seed, prompt=given["prompt"], sample=take)
                for entrant in self.entrants:
                    fields = {**self.settings, **entrant.model_dump(), **given, "seed": seed}
                    requests.append((entrant.key, read_request(fields)))
        return requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as stored in the database.

    A closed campaign assigns no pairs, but still accepts votes on pairs that were assigned before.
    """

    id: str
    spec: CampaignSpec
    created_at: datetime
    closed_at: datetime | None = None

    @property
    def title(self) -> str:
        return self.spec.title

    @property
    def is_open(self) -> bool:
        return self.closed_at is None and not self.spec.deleted

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the campaign of a row of the table of campaigns."""
        return cls(id=row.id, spec=CampaignSpec(**row.spec), created_at=row.created_at, closed_at=row.closed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignClip:
    """A clip of a campaign and its entrant. `request` is None for a clip chosen from the library.

    `pictures` are the names of its first and last picture, None for none.
    """

    clip_id: str
    entrant: str
    prompt: str
    request: GenerationRequest | None = None
    pictures: tuple[str | None, str | None] = (None, None)

    def row(self, campaign_id: str) -> dict[str, Any]:
        """Return the row of the table of campaign clips."""
        request = self.request.model_dump(mode="json") if self.request else None
        return {"campaign_id": campaign_id, "clip_id": self.clip_id, "entrant": self.entrant, "request": request}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two clips of one prompt, in arbitrary order.

    A dropped pair is not assigned and its votes do not count.
    """

    id: str
    prompt: str
    clip_a: str
    clip_b: str
    entrant_a: str
    entrant_b: str
    dropped_at: datetime | None = None

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the pair of a row of the table of pairs."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})

    def row(self, campaign: Campaign) -> dict[str, Any]:
        """Return the row of the table of pairs for a new pair."""
        spec = campaign.spec
        shuffle = (seed_for(spec.seed, prompt=f"shuffle {self.id}") % 2**53) / 2**53
        return {**asdict(self), "campaign_id": campaign.id, "shuffle": shuffle, "free": spec.labellers_per_pair}


def campaign_clips(spec: CampaignSpec, library: Iterable[ClipRecord]) -> list[CampaignClip]:
    """Return the clips of a campaign.

    `library` holds the records of its `clip_ids`. Raises ConfigError for an unknown clip.
    """
    records = {record.id: record for record in library}
    if unknown := [clip_id for clip_id in spec.clip_ids if clip_id not in records]:
        raise ConfigError(f"There is no clip {unknown[0][:40]!r} in the library: choose clips from the library.")
    chosen = [
        CampaignClip(
            clip_id=clip_id,
            entrant=entrant_of(records[clip_id]),
            prompt=records[clip_id].prompt,
            pictures=pictures_of(records[clip_id]),
        )
        for clip_id in spec.clip_ids
    ]
    made = [
        CampaignClip(
            clip_id=request.id,
            entrant=entrant,
            prompt=request.prompt,
            request=request,
            pictures=(request.image, request.last_image),
        )
        for entrant, request in spec.requests()
    ]
    return chosen + made


def entrant_of(record: ClipRecord) -> str:
    """Return the entrant of a library clip: its model and adapter, or "imported"."""
    return Entrant(model=record.model, adapter=record.adapter).key if record.model else "imported"


def pictures_of(record: ClipRecord) -> tuple[str | None, str | None]:
    """Return the names of the first and the last picture that a library clip was made from, None for none."""
    request = record.request or {}
    return request.get("image"), request.get("last_image")


def make_pairs(campaign_id: str, spec: CampaignSpec, clips: Sequence[CampaignClip]) -> list[Pair]:
    """Return the pairs of a campaign: clips of one prompt and the same pictures.

    Raises ConfigError when there are none, or too many.
    """
    groups: dict[tuple[object, ...], list[CampaignClip]] = defaultdict(list)
    for clip in clips:
        seed = clip.request.seed if clip.request and len(spec.entrants) > 1 else None
        groups[clip.prompt, clip.pictures, seed].append(clip)
    count = sum(len(group) * (len(group) - 1) // 2 for group in groups.values())
    if not 0 < count <= PAIR_LIMIT:
        raise ConfigError(
            f"The campaign would have {count} pairs, but it must have 1 to {PAIR_LIMIT}: a pair is two clips of one "
            "prompt, so choose more of a prompt, or fewer prompts, entrants or variations."
        )
    return [_pair(campaign_id, first, second) for group in groups.values() for first, second in combinations(group, 2)]


def _pair(campaign_id: str, first: CampaignClip, second: CampaignClip) -> Pair:
    pair_id = hashlib.sha256(f"{campaign_id} {first.clip_id} {second.clip_id}".encode()).hexdigest()[:16]
    return Pair(
        id=pair_id,
        prompt=first.prompt,
        clip_a=first.clip_id,
        clip_b=second.clip_id,
        entrant_a=first.entrant,
        entrant_b=second.entrant,
    )
