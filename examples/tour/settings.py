"""Settings of the tour, read from `tour.toml`. Imports no torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.config.presets import overlay
from engine.config.prompts import read_prompts, spread
from engine.errors import ConfigError
from engine.files.text_files import toml_table
from engine.suggestions import validation_message
from rewards.errors import did_you_mean

Start = Literal["base", "dpo", "grpo", "curriculum"]
TOUR_FILE = "tour.toml"


class Person(BaseModel):
    """One simulated labeller, see `examples.tour.labeller.SimulatedLabeller`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    """Name; must be unique."""
    noise: float = Field(gt=0)
    """Standard deviation of the noise added to the judge's score of a clip, which is in 0..1."""
    left_bias: float = 0.0
    """Log-odds of preferring the left clip of two equal clips."""
    ties: float = Field(0.3, ge=0, le=1)
    """How readily two clips are called equal; 0 is never."""


class PromptChoice(BaseModel):
    """`num_prompts` prompts, evenly spaced over a file of `presets/prompts`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompts: str
    """A file of `presets/prompts`."""
    num_prompts: int = Field(ge=2)
    """Number of prompts taken from it."""

    def read(self) -> list[str]:
        return spread(read_prompts(self.prompts), self.num_prompts)


class Showing(PromptChoice):
    """First clips, and a long clip of the first prompt in windows, which some rewards need."""

    long_frames: int = Field(ge=2)
    """Frames of the long clip, rounded up to a length that the family supports."""


class VotingSettings(PromptChoice):
    """Campaign whose votes DPO learns from; its clips use the settings of the DPO preset."""

    takes: int = Field(ge=2)
    """Clips of each prompt, which are combined into pairs."""


class Measuring(BaseModel):
    """Evaluation on the test prompts of the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_prompts: int = Field(ge=2)
    """Number of test prompts of the preset."""
    takes: int = Field(ge=1)
    """Clips of each prompt."""


class Training(BaseModel):
    """One run: a preset of `presets/train`, changes of it, and the model that it starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str
    """A key of `presets/train`."""
    start: Start = "base"
    """The base model, or the step whose adapter it begins with."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Values that replace those of the preset."""


class Lengthening(BaseModel):
    """Curriculum of lengths, and clips at its last length by the base model and by the final adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str
    """A key of `presets/curricula`."""
    start: Start = "base"
    """The base model, or the step whose adapter it begins with."""
    updates: tuple[int, ...] = Field(min_length=1, validation_alias=AliasChoices("updates", "steps"))
    """Updates of each stage."""
    step_backs: int | None = Field(None, ge=0)
    """Allowed steps back; None for the value of the preset."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Values that replace those of every stage."""
    num_clips: int = Field(ge=1)
    """Prompts with clips at the last length, before and after training."""


class Contest(PromptChoice):
    """Ranking on prompts that no run was trained on. The student samples in its own number of steps."""

    settings: dict[str, int | float] = Field(default_factory=dict)
    """Sampling settings of all clips, which replace those of the model."""


class TourSize(BaseModel):
    """All settings of a tour."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    """Name of the table in `examples/tour/tour.toml`; values that it lacks come from the table "full"."""
    model: str
    """A key of `presets/models`."""
    mix: str
    """A key of `presets/rewards`: the mix that scores every clip shown."""
    seed: int = Field(ge=0)
    """Seed of all random draws."""
    about: str = ""
    """Duration and purpose, in a few words."""
    people: tuple[Person, ...] = Field(min_length=2)
    """Simulated labellers, who vote in both campaigns."""
    show: Showing
    """First clips."""
    votes: VotingSettings
    """Campaign that DPO learns from."""
    measure: Measuring
    """Evaluation of each run."""
    dpo: Training
    """DPO on the votes."""
    grpo: Training
    """GRPO on rewards."""
    curriculum: Lengthening
    """Training on growing clip lengths, with gates."""
    student: Training
    """Distillation to few steps."""
    ranking: Contest
    """Ranking of all models by judge and by votes."""
    minutes: dict[str, float] = Field(default_factory=dict)
    """Expected minutes of each step, used to estimate the remaining time."""

    @model_validator(mode="after")
    def _names_differ(self) -> "TourSize":
        names = [person.name for person in self.people]
        if len(set(names)) != len(names):
            raise ValueError(f"the names of the people must be unique, but got {', '.join(names)}")
        return self


def load_tour(name: str) -> TourSize:
    """Read a table of `examples/tour/tour.toml`; values that it lacks come from the table "full".

    Raises ConfigError for an unknown table or invalid values.
    """
    path = Path(__file__).with_name(TOUR_FILE)
    tables = toml_table(path)
    if name not in tables:
        raise ConfigError(f"There is no tour '{name}' in {TOUR_FILE}. {did_you_mean(name, tables)}")
    try:
        return TourSize(**{"name": name, **overlay(tables["full"], tables[name])})
    except ValidationError as error:
        raise ConfigError(validation_message(error, f"examples/tour/{TOUR_FILE}", TourSize.model_fields)) from error
