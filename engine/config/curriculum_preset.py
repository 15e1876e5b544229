"""Schema of curriculum presets: stages in order, each with a gate. Imports no torch."""

from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from engine.config.schema import named_as_today
from rewards.models import FiniteModel


class GateCondition(FiniteModel):
    """Condition of a gate on one metric of the evaluation.

    The whole 95 % interval must be on the required side of `at_least` or `at_most`, so that noise does not pass. `of`
    selects the value after training, its change from the base model's, or its ratio to the base model's.
    """

    metric: str
    """Name in an evaluation: "mix", a reward's key, or "monitor/..." for one of the six metrics."""
    of: Literal["value", "change", "ratio"] = "value"
    """Compared quantity: the value after training, its change from the base model's, or its ratio to it."""
    at_least: float | None = None
    """Lower bound for the whole interval. Give either this or `at_most`."""
    at_most: float | None = None
    """Upper bound for the whole interval."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"the condition on '{self.metric}' needs either at_least or at_most")
        return self

    @property
    def words(self) -> str:
        """The condition in words, such as "change of mix >= 0.05"."""
        subject = self.metric if self.of == "value" else f"{self.of} of {self.metric}"
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{subject} {bound}"


class CurriculumGate(FiniteModel):
    """Conditions for advancing to the next stage, measured on fixed prompts and seeds.

    A stage that does not pass is trained further up to `retries` times, `retry_updates` each (None: as many as before).
    Then the curriculum stops, or returns to the previous stage, at most `step_backs` times in total. The intervals are
    corrected for this number of attempts.
    """

    conditions: tuple[GateCondition, ...] = Field(min_length=1)
    """All of them must pass."""
    prompts: str | None = None
    """A file of `presets/prompts`; None: the prompts of the stage's preset."""
    num_prompts: int = Field(16, ge=4)
    """Number of prompts that are evaluated, evenly spaced over the file."""
    takes: int = Field(2, ge=1)
    """Clips per prompt, each with its own seed."""
    mix: str | None = None
    """Mix of the evaluated rewards; None: the preset's."""
    retries: int = Field(1, ge=0)
    """Maximum number of further runs of a stage that does not pass; a distillation restarts with more updates."""
    retry_updates: int | None = Field(None, ge=1, validation_alias=AliasChoices("retry_updates", "retry_steps"))
    """Updates of each further training; None: as many as before."""
    on_failure: Literal["stop", "step_back"] = "stop"
    """Action when all retries have failed."""


class Stage(FiniteModel):
    """Stage of a curriculum: a preset of `presets/train`, its clip length, number of updates and gate.

    `frames` is rounded up to a length that the model's family supports. `settings` override those of the preset.
    """

    name: str = Field(min_length=1)
    """Name on the page; unique among the stages."""
    preset: str = Field(validation_alias=AliasChoices("preset", "recipe"))
    """A key of `presets/train`."""
    frames: int | None = Field(None, ge=1)
    """Length of its clips, rounded up to one that the family supports; None: the preset's."""
    updates: int | None = Field(None, ge=1, validation_alias=AliasChoices("updates", "steps"))
    """Updates; None: the preset's `max_steps`."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the preset's keys in this stage, such as `mix` or `pairs`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the preset's settings."""
    gate: CurriculumGate
    """Conditions for advancing to the next stage."""

    @field_validator("settings", mode="before")
    @classmethod
    def _settings_named_as_today(cls, settings: object) -> object:
        return named_as_today(settings)

    @field_validator("changes", mode="before")
    @classmethod
    def _changes_named_as_today(cls, changes: object) -> object:
        if not isinstance(changes, dict) or "settings" not in changes:
            return changes
        return {**changes, "settings": named_as_today(changes["settings"])}


class CurriculumPreset(FiniteModel):
    """A sequence of stages; each starts with the adapter of the previous one."""

    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The file's name without `.toml`."""
    title: str = Field(min_length=1)
    """Title on the page."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """The stages, in order."""
    step_backs: int = Field(1, ge=0)
    """Maximum number of returns to a previous stage, so that the curriculum always ends."""
    source: str = ""
    """Source of the numbers."""
    notes: str = ""
    """Measurements with these numbers, with hardware and date; or "not measured"."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"the names of stages must be unique, but got {', '.join(names)}")
        return self
