"""Stored results of a run: alarms and evaluations. Imports no torch."""

from typing import Literal

from pydantic import ConfigDict

from rewards.models import FrozenModel

Wanted = Literal["up", "down"]
Role = Literal["trained", "held_out", "judge", "monitor"]


class StoredModel(FrozenModel):
    """A model stored with NaN and infinity as constants, because null could not be read back."""

    model_config = ConfigDict(ser_json_inf_nan="constants")


class Interval(StoredModel):
    """A mean and its 95 % bootstrap interval `low`..`high` over `of` prompts (0: no measurement)."""

    mean: float
    low: float
    high: float
    of: int

    @property
    def signed(self) -> str:
        """The interval of a change as text, e.g. "+0.123 (-0.010 to +0.256)"."""
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


class Alarm(StoredModel):
    """A sign of reward hacking: `value` of the metric `name` exceeded `limit` at `step`.

    `action` is the reaction: "log", "pause" or "roll_back".
    """

    step: int
    name: str
    sentence: str
    value: float
    limit: float
    action: str = "log"


class Measure(StoredModel):
    """One metric before and after training, on the same prompts and seeds. `ratio` is after / before.

    "Before" is the base model, for a student its teacher. `role` is the metric's relation to the run: trained on, held
    out, the judge, or a monitoring metric; `wanted` is its good direction. `change` is paired, so its interval is
    narrower than those of the two sides.
    """

    name: str
    role: Role
    wanted: Wanted
    unit: str = "0..1"
    before: Interval
    after: Interval
    change: Interval
    ratio: Interval

    @property
    def verdict(self) -> Literal["better", "worse", "unsure"]:
        """The direction of the change by its 95 % interval; "unsure" when this contains 0."""
        sign = 1 if self.wanted == "up" else -1
        low, high = sorted((sign * self.change.low, sign * self.change.high))
        return "better" if low > 0 else "worse" if high < 0 else "unsure"


class Evaluation(StoredModel):
    """Metrics of `prompts` x `takes` clips before and after training.

    `before` and `after` are the settings of generation (steps, guidance, adapter); `seconds_before` and `seconds_after`
    are the times to generate and decode a clip.
    """

    run: str
    step: int
    mix: str
    prompts: int
    takes: int
    prompt_file: str = ""
    """The source of the prompts; "" in evaluations of older versions."""
    num_frames: int
    before: dict[str, float | int | str | None]
    after: dict[str, float | int | str | None]
    seconds_before: float
    seconds_after: float
    measures: tuple[Measure, ...]

    def measure(self, name: str) -> Measure | None:
        """Return the measure of this name; a reward that is also monitored has a separate name in that role."""
        return next((measure for measure in self.measures if measure.name == name), None)
