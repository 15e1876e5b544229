"""`Vote`: what one labeller said about one pair, as a browser sends it; `StoredVote`: the same in the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from engine.errors import ConfigError
from engine.suggestions import validation_message

Choice = Literal["left", "right", "tie", "both_bad", "skip"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
SCORES: dict[str, float] = {"left": 1.0, "right": 0.0, "tie": 0.5, "both_bad": 0.5}
"""What a choice says of the clip on the left; a skip says nothing."""
NAME_LIMIT = 200  # characters of a labeller's name
NOTE_LIMIT = 2000  # characters
MS_LIMIT = 3_600_000  # nobody looks at one pair for more than an hour: beyond it the clock was changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one labeller said about one pair, in terms of the sides that were shown.

    `shown_left` is the id of the clip that was on the left; `axes` the choice on each axis of the campaign's rubric
    that was judged; `ms` how long it took, None where the clock cannot be believed; `client_uuid` is made by the
    browser, once for a vote: however often the vote is sent, it is stored once.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    pair_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    labeller: Annotated[str, Field(min_length=1, max_length=NAME_LIMIT)]
    choice: Choice
    shown_left: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    client_uuid: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{8,64}$")]
    axes: dict[str, Choice] = field(default_factory=dict)
    note: Annotated[str, Field(max_length=NOTE_LIMIT)] = ""
    ms: int | None = None

    @classmethod
    def read(cls, fields: Mapping[str, Any], labeller: str) -> Self:
        """A vote of `fields` from a browser, which does not get to say who voted: the login does.

        Raises ConfigError in one sentence. A time below 0 or above an hour, as a changed clock gives, becomes None.
        """
        ms = fields.get("ms")
        trusted = round(ms) if isinstance(ms, int | float) and 0 <= ms <= MS_LIMIT else None
        try:
            return VOTE.validate_python({**fields, "labeller": labeller, "ms": trusted})
        except ValidationError as error:
            raise ConfigError(validation_message(error, "The vote", cls.__dataclass_fields__)) from error


VOTE: TypeAdapter[Any] = TypeAdapter(Vote)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVote:
    """A vote in the database, with what was behind the two sides. `number` grows with each vote that is stored.

    `ended_as` is "undone" or "edited" for one that no longer counts, else None. A repeat is the same pair shown again
    to the same person with the sides swapped: it measures the labeller and is no second opinion on the pair.
    """

    number: int
    vote: Vote
    campaign_id: str
    assignment_id: int
    prompt: str
    left_clip: str
    right_clip: str
    left_entrant: str
    right_entrant: str
    is_repeat: bool
    created_at: datetime
    ended_as: str | None = None
    ended_at: datetime | None = None

    def said(self, axis: str | None = None) -> Choice | None:
        """The choice overall, or on an axis of the rubric; None for an axis that was not judged."""
        return self.vote.choice if axis is None else self.vote.axes.get(axis)

    @property
    def winner(self) -> str | None:
        """The id of the preferred clip; None where there is none (tie, both bad, skip)."""
        return {"left": self.left_clip, "right": self.right_clip}.get(self.vote.choice)
