"""Base classes of pydantic models."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """An immutable model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FiniteModel(FrozenModel):
    """A `FrozenModel` that refuses NaN and infinite numbers."""

    model_config = ConfigDict(allow_inf_nan=False)
