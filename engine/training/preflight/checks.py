"""Preflight checks of a run before it starts, each with the measured value and what to change.

Costs one generation batch, and with GRPO an update (for DPO: the errors of a few pairs). The trainer is left unchanged.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from engine.algorithms import dpo
from engine.config.algorithms import ALGORITHMS, CLIP_DATA
from engine.config.form_settings import defaults_of
from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.errors import RewardError, SettingsError, TrainingError
from engine.estimation.run_estimate import forecast
from engine.family_interface import FamilyOptions
from engine.files.atomic import write_text_atomic
from engine.hardware.device import device_facts
from engine.runs.run import Run
from engine.training.distributed.process_group import world_size
from engine.training.preflight.noise_checks import latents_check, noise_checks
from engine.training.preflight.picture_checks import picture_problem
from engine.training.preflight.preflight_check import PreflightCheck
from engine.training.preflight.reward_checks import reward_checks
from engine.training.trainers.base import DiffusionTrainer
from engine.training.trainers.clip_data import ClipDataTrainer, ClipLossTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.kto import VideoKTOTrainer
from engine.training.trainers.online import AHEAD, OnlineTrainer, RolloutBatch
from engine.training.weights import ADAPTER

REPLAY_LIMIT = 1e-5
CUT_LIMIT = 0.5
"""Maximum fraction of steps that the clip range may cut after one update."""
NEVER_CUT = 100
"""A clip range wider than this multiple of the largest log ratio has no effect."""
BALANCE = 4 / 3
"""Most weight of all good clips relative to that of all bad ones (KTO, sec. 4.1); the least is 1."""
PAIRS_LOOKED_AT = 8
ERROR_TOLERANCE = 1e-7
"""Maximum difference of two errors that counts as float32 rounding."""


def run_checks(preset: TrainPreset, trainer: DiffusionTrainer, shards: int = 1) -> list[PreflightCheck]:
    """Run all checks of a preset and its trainer, whose weights are in `shards` parts."""
    return [*memory(preset, shards), *longest(preset), *speed(preset), *preflight(trainer)]


def preflight(trainer: DiffusionTrainer) -> list[PreflightCheck]:
    """Run the checks of a trainer that has not started."""
    checks = [_length(trainer), *_alpha(trainer), *_last_update(trainer)]
    if pictures := picture_problem(trainer):
        is_ok, sentence = pictures
        checks.append(PreflightCheck(name="pictures", level="ok" if is_ok else "warning", sentence=sentence))
    if isinstance(trainer, VideoDPOTrainer):
        checks += _pairs(trainer)
    elif isinstance(trainer, ClipDataTrainer):
        checks += _clips(trainer, trainer.train_dataset)
    if isinstance(trainer, OnlineTrainer):
        checks += _clips(trainer, trainer.data)
        noise = noise_checks(trainer)
        checks += [_checkpoints(trainer), *_few_steps(trainer), *noise]
        if all(verdict.level != "stop" for verdict in noise):
            checks += _rollout(trainer)
    trainer.sums.clear()  # the first logged row must cover training only
    return checks


def memory(preset: TrainPreset, shards: int = 1) -> Iterator[PreflightCheck]:
    """Compare the estimated memory, divided by `shards`, with the device's; skip models of unknown size."""
    facts = device_facts()
    estimate = forecast(preset, facts.memory_gib, shards=shards)
    if estimate is None:
        return
    finding = f"{estimate.memory.low:.2g} to {estimate.memory.high:.2g} GiB of {facts.memory_gib:.0f} GiB"
    change = f"; set {estimate.advice.setting} to {estimate.advice.value}" if estimate.advice else ""
    if estimate.verdict == "fits" and "backprop_steps" in defaults_of(preset.algorithm):
        sentence = f"{finding} without the decoder's activations, which are not estimated: decode_frames limits them."
        yield PreflightCheck(name="memory", level="warning", sentence=sentence)
    elif estimate.verdict == "fits":
        yield PreflightCheck(name="memory", level="ok", sentence=f"{finding}: it fits.")
    elif estimate.memory.low <= facts.memory_gib:
        fate = "it is tight" if estimate.verdict == "tight" else "it may not fit"
        yield PreflightCheck(name="memory", level="warning", sentence=f"{finding}: {fate}{change}.")
    else:
        yield PreflightCheck(name="memory", level="stop", sentence=f"{finding}: it does not fit{change}.")


def longest(preset: TrainPreset) -> Iterator[PreflightCheck]:
    """Warn of clips longer than the model's maximum."""
    model, frames = load_preset("models", preset.model), preset.settings.get("num_frames")
    if isinstance(frames, int) and frames > model.max_frames:
        sentence = (
            f"{model.title} was trained on clips of up to {model.max_frames} frames, and these have {frames}: their "
            f"quality may collapse beyond that. Set num_frames to {model.max_frames}, or take another model."
        )
        yield PreflightCheck(name="clip_length", level="warning", sentence=sentence)


def speed(preset: TrainPreset) -> Iterator[PreflightCheck]:
    """Warn of a frame rate other than Generate's, which changes the motion that rewards measure."""
    model, fps = load_preset("models", preset.model), preset.settings.get("fps")
    if not isinstance(fps, int | float) or fps == model.fps:
        return
    if ALGORITHMS[preset.algorithm].data in CLIP_DATA:
        sentence = (
            f"Clips are learnt at {fps:g} fps, but Generate makes {model.title}'s at {model.fps:g}: their motion is "
            f"learnt for another speed. Where the clips have {model.fps:g} fps or more, leave fps out."
        )
    else:
        sentence = (
            f"Clips are made and scored at {fps:g} fps, but Generate makes {model.title}'s at {model.fps:g}: what "
            f"is learnt of motion is learnt for another speed. Leave fps out, or set it to {model.fps:g}."
        )
    yield PreflightCheck(name="train_fps", level="warning", sentence=sentence)


def save(verdicts: Sequence[PreflightCheck], run: Run) -> None:
    """Store the checks in the run's folder."""
    write_text_atomic(run.preflight, json.dumps([asdict(verdict) for verdict in verdicts], indent=2) + "\n")


def raise_if_blocked(verdicts: Sequence[PreflightCheck]) -> None:
    """Raise an error with the sentences of all checks that block the run.

    It is a SettingsError if the run's settings cause one of them, which resuming would repeat, else a TrainingError.
    """
    stops = [verdict for verdict in verdicts if verdict.level == "stop"]
    if stops:
        kind = TrainingError if all(verdict.outside for verdict in stops) else SettingsError
        raise kind("The run was not started. " + " ".join(verdict.sentence for verdict in stops))


def _length(trainer: DiffusionTrainer) -> PreflightCheck:
    """Check that the family supports the number of frames."""
    spec, frames = trainer.family.spec, trainer.template.num_frames
    if spec.allows_frames(frames):
        return PreflightCheck(name="frames", level="ok", sentence=f"{spec.title} can make {frames} frames.")
    sentence = f"{spec.title} cannot make {frames} frames: set num_frames to {spec.nearest_frames(frames)}."
    return PreflightCheck(name="frames", level="stop", sentence=sentence)


def _alpha(trainer: DiffusionTrainer) -> Iterator[PreflightCheck]:
    """Warn where the run continues an adapter of another alpha, which it keeps."""
    config, asked = getattr(trainer.family.network, "peft_config", {}).get(ADAPTER), trainer.args.lora_alpha
    if config is not None and asked is not None and config.lora_alpha != asked:
        finding = (
            f"lora_alpha is {asked:g}, but the run continues an adapter of alpha {config.lora_alpha:g}, which it keeps"
        )
        sentence = f"{finding}: set lora_alpha to {config.lora_alpha:g}, or adapt learning_rate to that scale."
        yield PreflightCheck(name="alpha", level="warning", sentence=sentence)


def _last_update(trainer: DiffusionTrainer) -> Iterator[PreflightCheck]:
    """Check that the run's last update is one of the weights that it exports; dmd's critic is not."""
    steps, of_export = trainer.args.max_steps, trainer.args.updates_of_export
    if steps <= 0 or of_export(steps):
        return
    last = next((step for step in range(steps, 0, -1) if of_export(step)), 0)
    if not last:
        sentence = f"max_steps is {steps}, but all these updates are the critic's, so the student would not learn."
        yield PreflightCheck(name="updates", level="stop", sentence=f"{sentence} Raise max_steps.")
        return
    finding = f"The last {steps - last} of {steps} updates are the critic's, which is not exported"
    yield PreflightCheck(name="updates", level="warning", sentence=f"{finding}: set max_steps to {last}.")


@torch.no_grad()
def _pairs(trainer: VideoDPOTrainer) -> Iterator[PreflightCheck]:
    """Check that the pairs differ, and that beta_eff fits the model's errors on them."""
    if trainer.args.preference is None:
        yield PreflightCheck(
            name="beta", level="ok", sentence="No pair is compared: the chosen clips are learnt as they are."
        )
        return
    rows = [trainer.train_dataset[i] for i in range(min(PAIRS_LOOKED_AT, len(trainer.train_dataset)))]
    gaps = torch.cat([_gap(trainer, row, at) for at, row in enumerate(rows)])
    if float(gaps.abs().max()) <= ERROR_TOLERANCE:
        finding = f"The model's errors on the chosen and the rejected clips of the first {len(rows)} pairs are the same"
        yield PreflightCheck(
            name="pairs",
            level="stop",
            sentence=f"{finding}, so that nothing would be learned: see whether a pair is of one clip twice.",
        )
        return
    yield _of_one_shape(trainer)
    if trainer.clip_latents.resampled:
        rates = ", ".join(f"{fps:g}" for fps in sorted(trainer.clip_latents.resampled))
        sentence = f"Clips at {rates} fps are resampled to the model's {trainer.template.fps:g} fps."
        yield PreflightCheck(name="resampled", level="ok", sentence=sentence)
    args, spread = trainer.args, float(gaps.std()) if len(gaps) > 1 else float(gaps.abs().mean())
    move = trainer.beta_eff / 2 * spread
    usual = dpo.default_scale(trainer.family.spec.prediction) * 0.2
    finding = f"beta_eff is {trainer.beta_eff:g} (usual here: {usual:g}), a typical gap of the pairs {spread:.2g}"
    if 0.01 <= move <= 100:
        yield PreflightCheck(name="beta", level="ok", sentence=f"{finding}.")
        return
    wanted = dpo.scale_from_gap(gaps, args.beta) if spread > 0 and len(gaps) > 1 else trainer.error_scale
    fate = "stay at log 2" if move < 0.01 else "saturate at once"
    yield PreflightCheck(
        name="beta", level="warning", sentence=f"{finding}: the loss would {fate}; try error_scale = {wanted:.0f}."
    )


def _gap(trainer: VideoDPOTrainer, row: Mapping[str, Any], at: int) -> torch.Tensor:
    """Return the gap of one pair, with noise and a level of its own: those of micro-batch `at`."""
    before, trainer.micro_step = trainer.micro_step, at
    try:
        return trainer.error_gaps([row])
    finally:
        trainer.micro_step = before


def _clips(trainer: ClipLossTrainer, rows: Sequence[Mapping[str, Any]]) -> Iterator[PreflightCheck]:
    """Encode the first clips, and check that KTO has both good and bad ones."""
    for at in range(min(PAIRS_LOOKED_AT, len(rows))):
        trainer.clip_latents.chosen([rows[at]])
    if len(rows):
        yield _of_one_shape(trainer)
    labels = [row["label"] for row in rows] if isinstance(trainer, VideoKTOTrainer) else []
    if not labels:
        return
    good = sum(labels)
    finding = f"{good} clips are good and {len(labels) - good} bad"
    if 0 < good < len(labels):
        yield _weights_of_labels(trainer, good, len(labels) - good, finding)
        return
    advice = "nothing says what to move away from or to; add clips of the other kind"
    yield PreflightCheck(name="labels", level="warning", sentence=f"{finding}: {advice}.")


def _weights_of_labels(trainer: VideoKTOTrainer, good: int, bad: int, finding: str) -> PreflightCheck:
    """Compare the weights of all good and of all bad clips; see `engine.algorithms.kto`."""
    weights = trainer.args.desirable_weight * good, trainer.args.undesirable_weight * bad
    if weights[1] <= weights[0] <= BALANCE * weights[1] or 0 in weights:
        return PreflightCheck(name="labels", level="ok", sentence=f"{finding}.")
    advice = f"set desirable_weight to {weights[1] / good:.2g}"
    sentence = f"{finding}. By their weights the good ones count {weights[0] / weights[1]:.2g} times as much: {advice}."
    return PreflightCheck(name="labels", level="warning", sentence=sentence)


def _of_one_shape(trainer: ClipLossTrainer) -> PreflightCheck:
    """Compare the clips' shape, which training keeps, with the settings', which estimates use."""
    asked = trainer.template
    shape = (asked.num_frames, asked.height, asked.width)
    other = sorted(trainer.clip_latents.seen - {shape})
    if not other:
        return PreflightCheck(name="clips", level="ok", sentence="The clips have the settings' frames and size.")
    shapes = " and ".join(f"{frames} frames of {width}x{height} px" for frames, height, width in other)
    sentence = (
        f"The clips are trained at {shapes}, not at {shape[0]} of {shape[2]}x{shape[1]}: memory and time will "
        "differ from the estimate. Set num_frames, width and height to theirs, or choose clips of that shape."
    )
    return PreflightCheck(name="clips", level="warning", sentence=sentence)


def _checkpoints(trainer: OnlineTrainer) -> PreflightCheck:
    """Check that checkpoints fall between generation batches, since they do not contain clips."""
    updates, every = trainer.updates_per_generation, trainer.args.save_steps
    anew = "New clips are made every " + ("update" if updates == 1 else f"{updates} updates")
    if trainer.args.save_strategy != "steps" or every % updates == 0:
        return PreflightCheck(name="checkpoints", level="ok", sentence=f"{anew}.")
    sentence = (
        f"{anew}, but a checkpoint comes every {every:g}: a run that resumes in the middle of a batch makes new "
        f"clips. Set save_steps to a multiple of {updates}."
    )
    return PreflightCheck(name="checkpoints", level="warning", sentence=sentence)


def _few_steps(trainer: OnlineTrainer) -> Iterator[PreflightCheck]:
    """Check that something holds the policy near the few-step model that it begins with."""
    if not trainer.is_few_step:
        return
    finding = f"Clips are made, scored and evaluated in the {trainer.template.num_steps} steps of the distilled model"
    if trainer.args.beta or getattr(trainer.args, "moving_beta", 0):
        sentence = f"{finding}; student/distance tells how far it moves."
        yield PreflightCheck(name="student", level="ok", sentence=sentence)
        return
    sentence = f"{finding}, but nothing holds it near that: set beta above 0, or watch the metric student/distance."
    yield PreflightCheck(name="student", level="warning", sentence=sentence)


def _rollout(trainer: OnlineTrainer) -> Iterator[PreflightCheck]:
    """Check one generation batch: usable rewards, sound latents, and exact replay of its steps."""
    try:
        batches = trainer.first_generation_batch()
    except (TrainingError, RewardError) as error:
        if world_size() > 1:
            raise  # the others wait for this one's rewards, and end only when it does
        yield PreflightCheck(name="rewards", level="stop", sentence=str(error), outside=True)
        return
    verdicts = reward_checks(trainer, batches[0])
    yield from verdicts
    if any(verdict.level == "stop" for verdict in verdicts):
        return
    yield latents_check(trainer, batches[0].rollouts)
    yield from _same_pictures(trainer, batches[0])
    if isinstance(trainer, VideoGRPOTrainer):
        replay = _replay(trainer, batches)
        yield replay
        if replay.level != "stop" and trainer.sharding is None:
            yield _clip_range(trainer, batches)


def _replay(trainer: VideoGRPOTrainer, batches: Sequence[RolloutBatch]) -> PreflightCheck:
    """Check that ratios are 1 before the first update; otherwise the clip range would cut off noise."""
    error, clip = max(trainer.replay_error(batch) for batch in batches), trainer.args.epsilon
    sentence = (
        f"Replayed log-probabilities differ by at most {error:.1e} from the rollout's; the clip range is {clip:g}"
    )
    if error <= min(REPLAY_LIMIT, clip / 10):
        return PreflightCheck(name="replay", level="ok", sentence=f"{sentence}.")
    if error <= clip / 10:
        return PreflightCheck(
            name="replay", level="warning", sentence=f"{sentence}: train in float32 to bring it down."
        )
    advice = "train in float32, or make rollout_batch equal to per_device_train_batch_size"
    return PreflightCheck(name="replay", level="stop", sentence=f"{sentence}, so noise would be clipped: {advice}.")


def _clip_range(trainer: VideoGRPOTrainer, batches: Sequence[RolloutBatch]) -> PreflightCheck:
    """Compare the clip range with the changes after one update: it should cut some steps, but not most."""
    args = trainer.args
    moved = trainer.first_changes(batches[: args.gradient_accumulation_steps])
    above = args.epsilon if args.epsilon_high is None else args.epsilon_high
    cut = float(((moved > above) | (moved < -args.epsilon)).float().mean())
    typical, largest = float(moved.abs().median()), float(moved.abs().max())
    what = "the steps' divergence" if args.ratio == "kl_mask" else "log ratios"
    sentence = f"One update at the rate {args.learning_rate:g} moves {what} by {typical:.1e} (at most {largest:.1e})"
    if largest == 0:
        advice = "raise learning_rate, or lower noise_level if the steps add far more noise than the model changes"
        finding = f"{sentence}: no clip would become more or less likely, so nothing would be learned; {advice}."
        return PreflightCheck(name="clip_range", level="stop", sentence=finding)
    if trainer.updates_per_generation == 1 and AHEAD not in trainer.copies:
        finding = f"{sentence}, but each is made on fresh clips, so all ratios are 1 and nothing is cut."
        return PreflightCheck(name="clip_range", level="ok", sentence=finding)
    sentence = f"{sentence}; the clip range of {args.epsilon:g} cuts {cut:.0%} of them"
    if cut > CUT_LIMIT:
        advice = f"set epsilon to about {2 * typical:.0e}, or lower learning_rate"
        return PreflightCheck(
            name="clip_range", level="warning", sentence=f"{sentence}, most of what is learned: {advice}."
        )
    if largest * NEVER_CUT < args.epsilon:
        advice = f"set epsilon to about {2 * max(largest, ERROR_TOLERANCE):.0e}"
        return PreflightCheck(name="clip_range", level="warning", sentence=f"{sentence}, so it never acts: {advice}.")
    return PreflightCheck(name="clip_range", level="ok", sentence=f"{sentence}.")


def _same_pictures(trainer: OnlineTrainer, batch: RolloutBatch) -> Iterator[PreflightCheck]:
    """Check that rewards score clips at the model's frame rate, decoded as in Generate."""
    clips, fps = batch.rollouts.clips, trainer.template.fps
    other = sorted({clip.fps for clip in clips} - {fps})
    if other:
        scored_at = ", ".join(f"{rate:g}" for rate in other)
        sentence = f"The model is conditioned on {fps:g} fps, but clips are scored at {scored_at} fps."
        yield PreflightCheck(
            name="fps", level="stop", sentence=f"{sentence} Set fps to one of them, or correct the rollout."
        )
    elif clips:
        yield PreflightCheck(name="fps", level="ok", sentence=f"Clips are made and scored at {fps:g} fps.")
    vae = getattr(trainer.family, "vae", None)
    tiled, asked = (
        bool(getattr(vae, "use_tiling", False)),
        getattr(trainer.family, "options", FamilyOptions()).tile_vae,
    )
    if tiled != asked:
        ways = {True: "in tiles", False: "whole"}
        sentence = (
            f"Rollouts are decoded {ways[tiled]}, but the model's preset says {ways[asked]}: rewards would see other "
            f"pictures than Generate makes. Set tile_vae = {str(tiled).lower()} there."
        )
        yield PreflightCheck(name="tiling", level="stop", sentence=sentence, outside=True)
    elif tiled:
        sentence = "Rollouts are decoded in tiles, as in Generate: rewards may see faint seams between them."
        yield PreflightCheck(name="tiling", level="ok", sentence=sentence)
    else:
        yield PreflightCheck(name="tiling", level="ok", sentence="Rollouts are decoded whole, as in Generate.")
