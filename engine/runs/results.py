"""What was found out about a run, as its folder keeps it: alarms and evaluations. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

AS_NUMBERS: Literal["constants"] = "constants"
"""How NaN and infinity are written to JSON: as null, the default, they could not be read again."""
Wanted = Literal["up", "down"]
Role = Literal["trained", "held_out", "judge", "monitor"]


class Interval(BaseModel):
    """A mean and its 95 % bootstrap interval `low`..`high`, over `of` prompts (0: nothing could be measured)."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

    mean: float
    low: float
    high: float
    of: int


class Alarm(BaseModel):
    """Something that speaks against a run's reward: `value` of `name` went past `limit` at `step`.

    `action` is what was done about it: "log", "pause" or "roll_back".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

    step: int
    name: str
    sentence: str
    value: float
    limit: float
    action: str = "log"


class Measure(BaseModel):
    """One quantity by the base model (of a student: its teacher) and after training, on the same prompts and seeds.
    `ratio` is after / before.

    `role` says what it is to the run: trained on, a reward that was not, the judge, or one of the monitoring metrics;
    `wanted` is its good direction. `change` is of the pairs, so its interval is narrower than those of the two sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

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
        """Whether the change is surely in the wanted direction, surely not, or within the noise."""
        sign = 1 if self.wanted == "up" else -1
        low, high = sorted((sign * self.change.low, sign * self.change.high))
        return "better" if low > 0 else "worse" if high < 0 else "unsure"


class Evaluation(BaseModel):
    """Clips of `prompts` x `takes` made before and after training, and everything measured on them.

    `before` and `after` say how each was made (steps, guidance, adapter); `seconds` is the time of a clip, made and
    decoded, on each side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

    run: str
    step: int
    mix: str
    prompts: int
    takes: int
    prompt_file: str = ""
    """Where the prompts are from; "" in evaluations of before this was kept."""
    num_frames: int
    before: dict[str, float | int | str | None]
    after: dict[str, float | int | str | None]
    seconds_before: float
    seconds_after: float
    measures: tuple[Measure, ...]

    def measure(self, name: str) -> Measure | None:
        """The measure of that name; a reward that is also monitored is found under its role's own name."""
        return next((one for one in self.measures if one.name == name), None)
