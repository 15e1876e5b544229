"""Mixes: weights of rewards (`Mix`), their total (`combine`), the report on a clip (`RewardReport`).

    total = sum_i w_i v_i / sum_i w_i  x  prod_g (1 - strength_g (1 - gate_g))

over the rewards i that apply to the clip. A reward without a value (not applicable, weights missing) is left out and
the others share its weight; a note gives the reason. The gates g (motion, liveness, sharpness, cut, loop) multiply the
sum, so that no reward can compensate for a closed gate. A clip on which an external reward failed has no total: the
mean of the others would not compare with the totals of clips on which it answered.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from rewards.errors import RewardError, did_you_mean, first_problem
from rewards.models import FrozenModel
from rewards.registry import PIECES, REWARDS, known_backends, known_rewards, reward_problems
from rewards.spec import RewardResult
from rewards.text_files import parse_toml, read_text

NOT_APPLICABLE = "does not apply here; the other rewards share its weight."

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class GateStrengths(FrozenModel):
    """The share of the total that a closed gate takes away: 0 nothing, 1 everything."""

    motion: Share = 0.5
    """The share for a clip that stands still, unless the prompt asks for it."""
    liveness: Share = 0.9
    """The share for a still picture that is panned, zoomed, faded or moved, unless the prompt asks for a still."""
    sharpness: Share = 0.5
    """The share for a clip that is out of focus, or sharpened and saturated beyond any film."""
    cut: Share = 0.5
    """The share for a clip with a hard cut."""
    loop: Share = 0.5
    """The share for a clip that repeats its pictures, in time (unless the prompt asks for it) or side by side."""


class Mix(FrozenModel):
    """A weighted set of rewards, written by hand in `presets/rewards/<key>.toml`."""

    key: str
    """The file's name without `.toml`."""
    title: str
    """The name shown on the page."""
    description: str = ""
    """One sentence for the page: the purpose of the mix."""
    weights: dict[str, Weight]
    """A weight for each reward that counts, by its key; only their ratios matter."""
    gates: GateStrengths = GateStrengths()
    """The shares of the total that closed gates take away."""
    calibration: str = "real"
    """The set of the calibration file that maps raw values to 0..1."""
    backends: dict[str, str] = Field({})
    """The back end of each shared piece that has several; named in every result and never replaced silently."""

    @model_validator(mode="after")
    def _has_weight(self) -> "Mix":
        if not any(self.weights.values()):
            raise ValueError("at least one weight must be above 0")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """`value` in 0..1, None without a score; `weights` sum to 1."""

    value: float | None
    weights: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardReport:
    """All results of scoring one clip.

    `weights` are the shares used after renormalising; `gates` the measured gates; `seconds` the time of each reward and
    of each shared piece (flow, visible, ...) by itself; `notes` the rewards that the mix left out, with the reasons;
    `missing` all rewards that could not be computed on this machine, with the reasons; `calibration` is
    "set-version.revision". `unjudged` are the rewards of the mix that cannot judge this prompt, because their network
    was not trained on its words: the total then does not measure agreement with the prompt, and compares only with
    totals of the same prompt.
    """

    clip_id: str
    mix: str
    results: dict[str, RewardResult]
    weights: dict[str, float]
    gates: dict[str, float]
    total: float | None
    seconds: dict[str, float]
    calibration: str
    notes: tuple[str, ...] = field(default=())
    missing: dict[str, str] = field(default_factory=dict)
    unjudged: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, float | None]:
        """Return the value of each reward."""
        return {key: result.value for key, result in self.results.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe data without pictures; NaN in a per-frame series becomes None."""
        return {
            "clip_id": self.clip_id,
            "mix": self.mix,
            "total": self.total,
            "weights": self.weights,
            "gates": self.gates,
            "seconds": {key: round(spent, 6) for key, spent in self.seconds.items()},
            "calibration": self.calibration,
            "notes": list(self.notes),
            "missing": self.missing,
            "unjudged": list(self.unjudged),
            "results": {key: _result_to_dict(result) for key, result in self.results.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "RewardReport":
        """Return the report of data that `to_dict` made."""
        results = {key: _result_from_dict(result) for key, result in stored["results"].items()}
        plain = {key: stored[key] for key in ("clip_id", "mix", "total", "weights", "gates", "seconds", "calibration")}
        notes, unjudged = tuple(stored["notes"]), tuple(stored.get("unjudged", ()))
        missing = stored.get("missing", {})
        return cls(**plain, results=results, notes=notes, missing=missing, unjudged=unjudged)


def read_mix(path: Path, known: Collection[str] | None = None) -> Mix:
    """Read a preset file; its name is the key.

    `known` (default: all rewards) are the rewards that it may name.

    Raises RewardError in one sentence for a missing file, bad TOML, an unknown key, reward or back end ("did you mean")
    or a bad weight.
    """
    try:
        entries = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise RewardError(f"The mix {path.name} cannot be read: {error}.") from error
    _check_names("key", entries, Mix.model_fields, path.name)
    if isinstance(entries.get("weights"), dict):
        if known is None:
            known = known_rewards()
            _check_declarations(entries["weights"], known, path.name)
        _check_names("reward", entries["weights"], known, path.name)
    try:
        mix = Mix.model_validate({"key": path.stem, **entries})
    except ValidationError as error:
        raise RewardError(f"The mix {path.name} is wrong at {first_problem(error, 'weights')}.") from error
    check_backends(mix.backends, path.name)
    return mix


def check_backends(backends: Mapping[str, str], where: str) -> None:
    """Check the names of shared pieces and of their back ends; `where` is the mix that contains them.

    Raises RewardError for an unknown name, because it would select the default back end silently.
    """
    _check_names("shared piece in [backends]", backends, PIECES, where)
    for piece, backend in backends.items():
        _check_names(f"back end of {piece}", (backend,), known_backends(piece), where)


def combine(
    values: Mapping[str, float | None],
    weights: Mapping[str, float],
    gates: Mapping[str, float],
    strengths: GateStrengths,
    missing: Mapping[str, str] | None = None,
) -> Total:
    """Return the total of one clip from its rewards and gates.

    Raises RewardError for a value that is not finite.

    `missing` are the rewards that have no value because they could not be computed, with the reason as a sentence.
    """
    for key, value in values.items():
        if value is not None and not math.isfinite(value):
            raise RewardError(
                f"The reward {key!r} gave {value}, which is not a number: a reward must be finite or None."
            )
    applicable = {key: weights[key] for key, value in values.items() if value is not None and weights.get(key, 0) > 0}
    whole = sum(applicable.values())
    absent = [key for key, value in values.items() if value is None and weights.get(key, 0) > 0]
    notes = tuple(_note(key, (missing or {}).get(key)) for key in absent)
    if not whole:
        left = "could be computed for" if any(key in (missing or {}) for key in absent) else "applies to"
        return Total(value=None, weights={}, notes=(*notes, f"No reward of the mix {left} this clip."))
    shares = {key: weight / whole for key, weight in applicable.items()}
    mean = math.fsum(share * (values[key] or 0.0) for key, share in shares.items())
    passed = math.prod(1 - getattr(strengths, gate) * (1 - level) for gate, level in gates.items())
    value = None if failed_rewards(weights, missing or {}) else min(1.0, mean * passed)
    return Total(value=value, weights=shares, notes=notes)


def failed_rewards(weights: Mapping[str, float], missing: Collection[str]) -> list[str]:
    """Return the external rewards among the `missing` ones that have a weight.

    Their calls may fail on one clip and pass on another. Built-in rewards without their network miss on all clips.
    """
    return [key for key in missing if key not in REWARDS and weights.get(key, 0) > 0]


def _note(key: str, missing: str | None) -> str:
    if missing is not None and key not in REWARDS:
        return f"{key} failed, so the clip has no total. {missing}"
    if missing is not None:
        return f"{key} could not be computed; the other rewards share its weight. {missing}"
    return f"{key} {NOT_APPLICABLE}"


def _check_declarations(keys: Collection[str], known: Collection[str], where: str) -> None:
    unknown = [key for key in keys if key not in known]
    problems = reward_problems() if unknown else {}
    for key in unknown:
        if problem := problems.get(key.partition(".")[0]):
            raise RewardError(f"The mix {where} names the reward {key!r}, whose declaration cannot be used. {problem}")


def _check_names(kind: str, given: Collection[str], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise RewardError(f"The mix {where} has an unknown {kind} {name!r}. {did_you_mean(name, known)}")


def _result_to_dict(result: RewardResult) -> dict[str, Any]:
    series = result.per_frame
    return {
        "value": result.value,
        "raw": result.raw,
        "reason": result.reason,
        "backend": result.backend,
        "confidence": result.confidence,
        "details": result.details,
        "notes": list(result.notes),
        "per_frame": None if series is None else [float(v) if np.isfinite(v) else None for v in series],
    }


def _result_from_dict(stored: Mapping[str, Any]) -> RewardResult:
    series = stored["per_frame"]
    frames = None if series is None else np.array([math.nan if v is None else v for v in series], np.float64)
    return RewardResult(**{**stored, "per_frame": frames, "notes": tuple(stored.get("notes", ()))})
