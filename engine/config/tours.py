"""How large a tour is (`presets/tour.toml`): the whole story on one model, prompts to ranking. Imports no torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.config.presets import overlay, read_toml, spread_prompts
from engine.config.suggest import did_you_mean, explain
from engine.errors import ConfigError
from engine.families import ROOT

Start = Literal["base", "dpo", "grpo", "curriculum"]
TOUR_FILE = "tour.toml"


class Person(BaseModel):
    """One simulated labeller, see `engine.mini.labeller.SimulatedLabeller`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    noise: float = Field(gt=0)
    left_bias: float = 0.0
    ties: float = Field(0.3, ge=0, le=1)


class PromptChoice(BaseModel):
    """`num_prompts` spread over a file of `presets/prompts`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: str
    num_prompts: int = Field(ge=2)

    def read(self) -> list[str]:
        return spread_prompts(self.prompts, self.num_prompts)


class Showing(PromptChoice):
    """The first clips. The first prompt is made once more, `long_frames` long, in windows: some rewards ask for it."""

    long_frames: int = Field(ge=2)


class Asking(PromptChoice):
    """The campaign whose votes DPO learns from; its clips are made as the DPO recipe makes them."""

    takes: int = Field(ge=2)


class Measuring(BaseModel):
    """An evaluation, on the recipe's test prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_prompts: int = Field(ge=2)
    takes: int = Field(ge=1)


class Training(BaseModel):
    """One run: a recipe of `presets/train` by its name, what is laid over it, and what it begins with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    start: Start = "base"
    changes: dict[str, Any] = Field(default_factory=dict)


class Lengthening(BaseModel):
    """The curriculum by its name. `steps` are those of each stage, `changes` are laid over every stage; the clips of
    `num_clips` prompts are made at the last length, by the base model and by what came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    start: Start = "base"
    steps: tuple[int, ...] = Field(min_length=1)
    step_backs: int | None = Field(None, ge=0)
    """None: as the preset says."""
    changes: dict[str, Any] = Field(default_factory=dict)
    num_clips: int = Field(ge=1)


class Contest(PromptChoice):
    """The ranking, on prompts that nothing was trained on. `settings` are those of everybody's clips; but the student
    makes its own in as many steps as it was made for."""

    settings: dict[str, int | float] = Field(default_factory=dict)


class TourSize(BaseModel):
    """Everything about a tour that is a choice. `minutes` is what each step is expected to take, for the time left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model: str
    mix: str
    seed: int = Field(ge=0)
    about: str = ""
    people: tuple[Person, ...] = Field(min_length=2)
    show: Showing
    votes: Asking
    measure: Measuring
    dpo: Training
    grpo: Training
    curriculum: Lengthening
    student: Training
    ranking: Contest
    minutes: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_differ(self) -> "TourSize":
        names = [person.name for person in self.people]
        if len(set(names)) != len(names):
            raise ValueError(f"the people need names of their own, but got {', '.join(names)}")
        return self


def load_tour(name: str) -> TourSize:
    """The table of that name in `presets/tour.toml`, laid over "full". Raises ConfigError."""
    path = ROOT / "presets" / TOUR_FILE
    tables = read_toml(path)
    if name not in tables:
        raise ConfigError(f"There is no tour '{name}' in {TOUR_FILE}. {did_you_mean(name, tables)}")
    try:
        return TourSize(**{"name": name, **overlay(tables["full"], tables[name])})
    except ValidationError as error:
        raise ConfigError(explain(error, f"presets/{TOUR_FILE}", TourSize.model_fields)) from error
