"""A curriculum as its preset says it: stages in order, each with a gate. Imports no torch."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class GateCondition(BaseModel):
    """What a gate asks of one metric of the evaluation, by its name there.

    The whole 95 % interval of `of` must lie on the right side of `at_least` or `at_most`: what may be noise is not
    enough. `of` is the value after training, its change from that of the base model, or its ratio to that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    """Its name in an evaluation: "mix", a reward's key, or "monitor/..." for one of the six metrics."""
    of: Literal["value", "change", "ratio"] = "value"
    """What is compared: the value after training, its change from the base model's, or its ratio to that."""
    at_least: float | None = None
    """The whole interval must lie here or above. Give this or the next."""
    at_most: float | None = None
    """The whole interval must lie here or below."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"the condition on '{self.metric}' needs either at_least or at_most")
        return self

    @property
    def words(self) -> str:
        subject = self.metric if self.of == "value" else f"{self.of} of {self.metric}"
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{subject} {bound}"


class CurriculumGate(BaseModel):
    """The measured condition under which a curriculum moves on, on fixed prompts and seeds.

    A stage that does not pass is trained on up to `retries` times, `retry_steps` each (None: as many steps as before);
    then the curriculum stops, or goes back one stage, which it does at most `step_backs` times in all. The intervals
    are corrected for how often that may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    conditions: tuple[GateCondition, ...] = Field(min_length=1)
    """All of them must pass."""
    prompts: str | None = None
    """A file of `presets/prompts`; None: that of the stage's recipe."""
    num_prompts: int = Field(16, ge=4)
    """How many of the prompts are looked at, spread over the file."""
    takes: int = Field(2, ge=1)
    """Clips of each prompt, with seeds of their own."""
    mix: str | None = None
    """The rewards that are measured; None: those of the recipe."""
    retries: int = Field(1, ge=0)
    """How often a stage that does not pass is trained on; a distillation begins anew, with more updates."""
    retry_steps: int | None = Field(None, ge=1)
    """Updates of each such time; None: as many as before."""
    on_failure: Literal["stop", "step_back"] = "stop"
    """What happens when nothing is left to try."""


class Stage(BaseModel):
    """One step of a curriculum: a recipe of `presets/train`, how long its clips are, for how many steps, and a gate.

    `frames` are rounded up to what the model's family can make. `settings` are laid over those of the recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    """What the page calls it; no two stages have one name."""
    recipe: str
    """A key of `presets/train`."""
    frames: int | None = Field(None, ge=1)
    """Of its clips, rounded up to what the family can make; None: the recipe's."""
    steps: int | None = Field(None, ge=1)
    """Updates; None: the recipe's `max_steps`."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Keys of the recipe that are different in this stage, such as its mix or `pairs`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Laid over the recipe's settings."""
    gate: CurriculumGate
    """What it takes to move on."""


class CurriculumPreset(BaseModel):
    """Stages one after another; each begins with the adapter of the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The file's name without `.toml`."""
    title: str = Field(min_length=1)
    """What the page calls it."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """In order."""
    step_backs: int = Field(1, ge=0)
    """How often it may go back a stage in all, so that it always ends."""
    source: str = ""
    """Where the numbers come from."""
    notes: str = ""
    """What was measured with them, on what and when; or "not measured"."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"the stages need names of their own, but got {', '.join(names)}")
        return self
