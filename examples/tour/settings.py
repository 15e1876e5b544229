"""Settings of the tour, read from `tour.toml`. Imports no torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.config.presets import overlay
from engine.config.prompts import spread_prompts
from engine.errors import ConfigError
from engine.files.text_files import toml_table
from engine.suggestions import did_you_mean, validation_message

Start = Literal["base", "dpo", "grpo", "curriculum"]
TOUR_FILE = "tour.toml"


class Person(BaseModel):
    """One simulated labeller, see `engine.mini.labeller.SimulatedLabeller`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    """No two people have one name."""
    noise: float = Field(gt=0)
    """Standard deviation of what is added to the judge's score of a clip, which is 0 to 1."""
    left_bias: float = 0.0
    """Log-odds by which the clip on the left is preferred to its equal."""
    ties: float = Field(0.3, ge=0, le=1)
    """How easily two clips are called alike: 0 never."""


class PromptChoice(BaseModel):
    """`num_prompts` spread over a file of `presets/prompts`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompts: str
    """A file of `presets/prompts`."""
    num_prompts: int = Field(ge=2)
    """How many of it."""

    def read(self) -> list[str]:
        return spread_prompts(self.prompts, self.num_prompts)


class Showing(PromptChoice):
    """The first clips. The first prompt is made once more, `long_frames` long, in windows: some rewards ask for it."""

    long_frames: int = Field(ge=2)
    """Of the long clip, rounded up to what the family can make."""


class VotingSettings(PromptChoice):
    """The campaign whose votes DPO learns from; its clips are made as the DPO recipe makes them."""

    takes: int = Field(ge=2)
    """Clips of each prompt, which become pairs."""


class Measuring(BaseModel):
    """An evaluation, on the recipe's test prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_prompts: int = Field(ge=2)
    """How many of the recipe's test prompts."""
    takes: int = Field(ge=1)
    """Clips of each."""


class Training(BaseModel):
    """One run: a recipe of `presets/train` by its name, what is laid over it, and what it begins with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str
    """A key of `presets/train`."""
    start: Start = "base"
    """The base model, or the step whose adapter it begins with."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Laid over the recipe."""


class Lengthening(BaseModel):
    """The curriculum by its name. `steps` are those of each stage, `changes` are laid over every stage; the clips of
    `num_clips` prompts are made at the last length, by the base model and by what came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str
    """A key of `presets/curricula`."""
    start: Start = "base"
    """The base model, or the step whose adapter it begins with."""
    steps: tuple[int, ...] = Field(min_length=1)
    """Updates of each stage."""
    step_backs: int | None = Field(None, ge=0)
    """None: as the preset says."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Laid over every stage."""
    num_clips: int = Field(ge=1)
    """Prompts whose clips are made at the last length, before and after."""


class Contest(PromptChoice):
    """The ranking, on prompts that nothing was trained on. `settings` are those of everybody's clips; but the student
    makes its own in as many steps as it was made for."""

    settings: dict[str, int | float] = Field(default_factory=dict)
    """Of everybody's clips, laid over the model's own."""


class TourSize(BaseModel):
    """Everything about a tour that is a choice. `minutes` is what each step is expected to take, for the time left."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    """The table's name in `examples/tour/tour.toml`; a table is laid over the one called "full"."""
    model: str
    """A key of `presets/models`."""
    mix: str
    """A key of `presets/rewards`, which scores every clip that is shown."""
    seed: int = Field(ge=0)
    """Of everything that is drawn."""
    about: str = ""
    """How long it takes and what it is for, in a few words."""
    people: tuple[Person, ...] = Field(min_length=2)
    """The simulated labellers, who vote in both campaigns."""
    show: Showing
    """The first clips."""
    votes: VotingSettings
    """The campaign that DPO learns from."""
    measure: Measuring
    """How each run is evaluated."""
    dpo: Training
    """DPO on the votes."""
    grpo: Training
    """GRPO on rewards."""
    curriculum: Lengthening
    """Longer and longer clips, behind gates."""
    student: Training
    """Distillation to few steps."""
    ranking: Contest
    """Who is better, by judge and by votes."""
    minutes: dict[str, float] = Field(default_factory=dict)
    """What each step is expected to take, for the time left; minutes."""

    @model_validator(mode="after")
    def _names_differ(self) -> "TourSize":
        names = [person.name for person in self.people]
        if len(set(names)) != len(names):
            raise ValueError(f"the people need names of their own, but got {', '.join(names)}")
        return self


def load_tour(name: str) -> TourSize:
    """The table of that name in `examples/tour/tour.toml`, laid over "full". Raises ConfigError."""
    path = Path(__file__).with_name(TOUR_FILE)
    tables = toml_table(path)
    if name not in tables:
        raise ConfigError(f"There is no tour '{name}' in {TOUR_FILE}. {did_you_mean(name, tables)}")
    try:
        return TourSize(**{"name": name, **overlay(tables["full"], tables[name])})
    except ValidationError as error:
        raise ConfigError(validation_message(error, f"presets/{TOUR_FILE}", TourSize.model_fields)) from error
