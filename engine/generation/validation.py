"""Requests from a form or a file, and checks against the limits of their model. Imports no torch."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from engine.config.presets import load_model_preset
from engine.config.prompts import read_rows
from engine.config.schema import ModelPreset, TrainPreset
from engine.config.setting_ranges import range_of_request
from engine.errors import ConfigError
from engine.families.registry import family_spec
from engine.family_interface import FamilyOptions, FamilySpec
from engine.generation.clip_plan import (
    ANY_LENGTH,
    PICTURES,
    at_least,
    check_plan,
    longest_piece,
    requires_end_frames,
    window_plan,
)
from engine.request import PROMPT_LIMIT, GenerationRequest, WindowPlan
from engine.suggestions import validation_message
from rewards.errors import did_you_mean

NO_PROMPT = "Enter a prompt."
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


def why_untrainable(preset: ModelPreset) -> str | None:
    """Return a sentence with the reason why runs cannot train the model; None when they can."""
    if preset.offload_blocks:
        return f"'{preset.key}' keeps its blocks on the CPU, which is only for generation: set offload_blocks to false."
    return None


def check_prompts_fit(preset: TrainPreset) -> None:
    """Check the pictures of a preset's prompts against its model.

    Raises ConfigError, which names file and row.
    """
    model = load_model_preset(preset.model)
    template = GenerationRequest(**{"prompt": "-", **model.defaults()})
    for name in (preset.prompts, preset.test_prompts):
        rows = read_rows(name) if name else []
        check_pictures(((row.place, row.pictures) for row in rows), template, family_spec(model.family))


def check_pictures(
    rows: Iterable[tuple[str, Mapping[str, Any]]], template: GenerationRequest, spec: FamilySpec
) -> None:
    """Raise ConfigError for pictures that the family needs and lacks, or does not take.

    The error names the row. A row is its position and its pictures by column. All rows must have the same kinds of
    pictures, since their clips are denoised together.
    """
    kinds: dict[tuple[str, ...], str] = {}
    for place, given in rows:
        kind = tuple(name for name in PICTURES if given.get(name))
        if kind in kinds:
            continue
        kinds[kind] = place
        try:
            check_plan(template.model_copy(update=dict.fromkeys(kind, "0" * 64)), spec)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
    if len(kinds) > 1:
        first, other = list(kinds.values())[:2]
        raise ConfigError(
            f"{other} has other pictures than {first}: give all rows an image, or none, and likewise a last_image."
        )


def check_storage(options: FamilyOptions, lora_rank: int, *, checkpointed: bool, sharded: bool = False) -> None:
    """Raise ConfigError when the model's weights are stored in a way that cannot be trained."""
    if options.offload_blocks:
        raise ConfigError("A model with offload_blocks can only generate: set it to false in the model's preset.")
    if options.weights == "full":
        return
    if not (lora_rank and checkpointed):
        raise ConfigError(
            f"A model with weights = '{options.weights}' is trained by an adapter, block by block: set lora_rank to 1 "
            "or more and gradient_checkpointing to true, or weights to 'full' in the model's preset."
        )
    if options.weights == "int8" and sharded:
        raise ConfigError(
            "A model with weights = 'int8' cannot be split over devices: use a launcher file without sharding, or set "
            "weights to 'float8' in the model's preset."
        )


def read_request(fields: Mapping[str, Any]) -> GenerationRequest:
    """Return a request from a form or a file, with the model's defaults for missing fields.

    Raises ConfigError in one sentence: an unknown field, an empty or too long prompt, a value out of range.
    """
    preset = load_model_preset(str(fields.get("model", GenerationRequest.model_fields["model"].default)))
    try:
        return GenerationRequest(**{**preset.defaults(), **fields, **_plan_of(preset, fields)})
    except ValidationError as error:
        raise _mistake(error) from error


def _mistake(error: ValidationError) -> ConfigError:
    """Return the first mistake in a request as one sentence, with the field."""
    first = error.errors(include_url=False)[0]
    field, kind, got = str(next(iter(first["loc"]), "")), first["type"], first["input"]
    if field == "prompt" and kind == "string_too_short":
        return ConfigError(NO_PROMPT, field=field)
    if kind == "string_too_long":
        name = field.replace("_", " ")
        return ConfigError(
            f"The {name} has {len(got):,} characters: shorten it to {PROMPT_LIMIT:,} or fewer.", field=field
        )
    if len(first["loc"]) == 1 and kind in OUT_OF_RANGE:
        return ConfigError(f"{field} = {got} is invalid: it must be {range_of_request(field).words}.", field=field)
    return ConfigError(validation_message(error, "The request", GenerationRequest.model_fields), field=field)


def _plan_of(preset: ModelPreset, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of the request's mode, with defaults that suit the model.

    A clip without guidance, as for distilled models and students, has keyframes and in-betweens without guidance. A
    window is no longer than the longest clip that the model generates at once.
    """
    mode = str(fields.get("mode"))
    plan = fields.get(mode) or {}
    if mode not in ("keyframes", "windows") or not isinstance(plan, Mapping):
        return {}
    if mode == "windows":
        fits = family_spec(preset.family).nearest_frames(WindowPlan().length) <= preset.max_frames
        return {} if fits else {mode: {"length": preset.max_frames, **plan}}
    guidance = fields.get("guidance", preset.guidance)
    if isinstance(guidance, int | float) and guidance <= 1:
        return {mode: {"keyframe_guidance": guidance, "inbetween_guidance": guidance, **plan}}
    return {mode: {"keyframe_guidance": preset.keyframe_guidance, **plan}}


def check_request(request: GenerationRequest, adapters: Collection[str] = ()) -> None:
    """Check a request against the limits of its model before anything is loaded.

    `adapters` are the names of the trained adapters. Raises ConfigError: unknown model or adapter, a blank prompt,
    unsupported numbers of frames or sizes.
    """
    preset = load_model_preset(request.model)
    if not request.prompt.strip():
        raise ConfigError(NO_PROMPT, field="prompt")
    _check_frames(request, preset)
    _check_size(request, preset)
    for name in request.scales:
        if name not in adapters:
            hint = did_you_mean(name, adapters) or "None has been trained yet: leave the adapter empty."
            raise ConfigError(f"Unknown adapter '{name}' for model '{request.model}'. {hint}", field="adapters")


def _check_frames(request: GenerationRequest, preset: ModelPreset) -> None:
    spec = family_spec(preset.family)
    check_plan(request, spec)
    if request.mode in ANY_LENGTH:
        return _check_window(request, preset)
    if problem := shape_problems(preset, {"num_frames": request.num_frames}):
        raise ConfigError(problem["num_frames"], field="num_frames")
    longest = longest_piece(request, spec)
    if longest > preset.max_frames:
        remedy = "add a keyframe in between" if requires_end_frames(spec) else "use mode 'windows'"
        raise ConfigError(
            f"{preset.title} generates at most {preset.max_frames} frames at once, but got num_frames = {longest}: "
            f"use {preset.max_frames} or fewer, or {remedy}.",
            field="num_frames",
        )


def _check_window(request: GenerationRequest, preset: ModelPreset) -> None:
    """Check the length of a window, or of the whole clip when it is shorter."""
    spec = family_spec(preset.family)
    length = min(spec.nearest_frames(window_plan(request).length), at_least(spec, request.num_frames))
    if length > preset.max_frames:
        raise ConfigError(
            f"{preset.title} generates at most {preset.max_frames} frames at once, but a window would have {length}: "
            f"use windows of {preset.max_frames} or fewer."
        )


def _check_size(request: GenerationRequest, preset: ModelPreset) -> None:
    for side, problem in shape_problems(preset, {"width": request.width, "height": request.height}).items():
        raise ConfigError(problem, field=side)


def shape_problems(preset: ModelPreset, shape: Mapping[str, int]) -> dict[str, str]:
    """Return a sentence for each value of `shape` that the model cannot generate.

    `shape` has num_frames, width and height.
    """
    spec, problems = family_spec(preset.family), {}
    multiple = preset.size_multiple or spec.size_multiple
    for name, got in shape.items():
        if name == "num_frames" and not spec.allows_frames(got):
            nearest = spec.nearest_frames(min(got, preset.max_frames))
            rule = f"{spec.frame_stride}k+{spec.frame_offset}"
            problems[name] = (
                f"{preset.title} generates clips of {rule} frames, but got num_frames = {got}: "
                f"the nearest is {nearest}."
            )
        elif name != "num_frames" and got % multiple:
            nearest = max(multiple, round(got / multiple) * multiple)
            problems[name] = (
                f"{preset.title} needs a {name} that is a multiple of {multiple} px, but got {got}: try {nearest}."
            )
    return problems
