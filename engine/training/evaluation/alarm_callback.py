"""Trainer callback that observes the policy periodically and raises the alarms of `evaluation.alarms`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from transformers import TrainerCallback

from engine.config.prompts import PromptRow, spread
from engine.config.schema import TrainPreset
from engine.request import GenerationRequest
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.training.distributed.process_group import broadcast_object, on_rank_zero
from engine.training.evaluation.alarms import (
    DIVERSITY,
    DRIFT,
    HELD_OUT,
    MOTION,
    REWARD,
    Column,
    Observation,
    detect_alarms,
    suspected,
)
from engine.training.evaluation.evaluate import prompt_file_of, requests_for, scored_mix, subject_of
from engine.training.evaluation.motion import motion_of
from engine.training.evaluation.sample_sets import preserve_training_state
from engine.training.rollout.drift import drift_of, inference_batch_size
from engine.training.rollout.reward_calls import score
from engine.training.rollout.rollouts import Rollouts, generate_rollouts
from engine.training.trainers.base import DiffusionTrainer
from engine.training.trainers.online import OnlineTrainer
from rewards.clip import Clip
from rewards.mix import Mix
from rewards.suite import RewardSuite

THUMB_PX, THUMB_FRAMES = 16, 4
log = logging.getLogger(__name__)


class AlarmCallback(TrainerCallback):
    """Observe the policy every `alarms.every` steps, and log, pause or roll back on an alarm.

    `stopped`: an alarm ended the run. `last_good`: step of the last observation without an alarm. An alarm that was
    raised before, in this run or the one that it resumes, is recorded again but has no further effect, since the user
    resumed despite it. A pause waits for a step after which the run can resume as if it had not stopped.
    """

    def __init__(self, trainer: DiffusionTrainer, run: Run, preset: TrainPreset) -> None:
        self._trainer, self._run, self._settings = trainer, run, preset.alarms
        self._requests, self._more = (
            watched_requests(trainer.template, preset, run.rows) if preset.alarms.every else ((), ())
        )
        # Of the clips that are watched, for the columns of their rows.
        self._rows = (
            {subject_of(row): row.to_dict() for row in run.rows(prompt_file_of(preset))} if self._requests else {}
        )
        self._suite = _held_out_suite(preset)
        self._base: Observation | None = None
        self._base_of_more: Observation | None = None
        self._known = {alarm.name for alarm in run.alarms()}
        self.last_good, self.stopped, self._pausing = 0, False, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._requests:
            self._base = self.observe(0, base=True)
            self._is_good(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._base is not None and state.global_step % self._settings.every == 0:
            action = self._check_alarms(state, self._base)
            if action == "roll_back":
                self.stopped = control.should_training_stop = True
                control.should_save = False
            self._pausing |= action == "pause"
        if self._pausing and (self._trainer.is_safe_stop or state.global_step >= state.max_steps):
            self.stopped = control.should_training_stop = control.should_save = True

    def _check_alarms(self, state: Any, base: Observation) -> str:
        """Observe the policy, record every alarm, and return the action to take."""
        now = self.observe(state.global_step)
        if state.is_world_process_zero:
            self._run.append_metrics(now.step, _means(now))
        if broadcast_object(suspected(base, now, self._settings)):
            base, now = self._with_more(base, now)
        planned = max(1, state.max_steps // self._settings.every)
        found = broadcast_object(detect_alarms([base, now], self._settings, planned))
        news = [alarm for alarm in found if alarm.name not in self._known]
        action = self._settings.action if news else "log"
        for alarm in found:
            self._record(alarm.model_copy(update={"action": action}), state.is_world_process_zero)
        if not found:
            self._is_good(now.step)
        return action

    def _with_more(self, base: Observation, now: Observation) -> tuple[Observation, Observation]:
        """Extend both observations by clips of as many other prompts; those of the base are made once."""
        if self._base_of_more is None:
            self._base_of_more = self.observe(base.step, base=True, requests=self._more)
        return base.joined(self._base_of_more), now.joined(self.observe(now.step, requests=self._more))

    def discard_rolled_back(self) -> None:
        """After the last step of a roll-back, reject the checkpoints after `last_good`."""
        if self.stopped and self._settings.action == "roll_back":
            self._run.series.reject(self.last_good + 1)

    def _is_good(self, step: int) -> None:
        """Mark this step's checkpoint as a roll-back target, which only the action "roll_back" keeps."""
        self.last_good = step
        if self._settings.action == "roll_back":
            self._trainer.last_good = step

    def _record(self, alarm: Alarm, first: bool) -> None:
        self._known.add(alarm.name)
        if first:
            self._run.append_alarm(alarm)
            log.warning("alarm at step %d, %s: %s", alarm.step, alarm.name, alarm.sentence)

    def observe(self, step: int, *, base: bool = False, requests: Sequence[GenerationRequest] = ()) -> Observation:
        """Generate the watched clips, or those of `requests`, and measure them.

        `base` uses the model before training instead of the current policy; a student's teacher takes its own steps.
        Its distance from the student is what distillation changes, so it is not measured.
        """
        trainer, requests = self._trainer, requests or self._requests
        if base:
            requests = [request.model_copy(update=trainer.baseline_fields) for request in requests]
        with trainer.reference.applied() if base else nullcontext(), preserve_training_state(trainer.family.network):
            made = generate_rollouts(trainer.family, requests, trainer.prompts, batch=inference_batch_size(trainer))
        drift: list[float | None] = [None if trainer.baseline_fields else 0.0] * len(made.clips)
        if not base and not trainer.baseline_fields:
            with preserve_training_state(trainer.family.network):
                drift = list(drift_of(trainer, made.latents, made.requests).tolist())
        columns: dict[str, Column] = {
            MOTION: tuple(motion_of(clip) for clip in made.clips),
            DIVERSITY: tuple(diversity_of(made.clips, self._settings.takes)),
            DRIFT: tuple(drift),
            **on_rank_zero(lambda: self._rewards(made)),  # all processes have made the same clips
        }
        return Observation(step=step, prompts=tuple(subject_of(request) for request in made.requests), columns=columns)

    def _rewards(self, made: Rollouts) -> dict[str, Column]:
        columns: dict[str, Column] = {}
        if isinstance(self._trainer, OnlineTrainer):
            rows = [self._rows[subject_of(request)] for request in made.requests]
            columns[REWARD] = trained_reward(self._trainer, made, rows)
        if self._suite is not None:
            reports = self._suite.score_many(made.clips)
            for key in reports[0].parts:
                columns[f"{HELD_OUT}{key}"] = tuple(report.parts[key] for report in reports)
        return columns


Requests = tuple[GenerationRequest, ...]


def watched_requests(
    template: GenerationRequest, preset: TrainPreset, read: Callable[[str], list[PromptRow]]
) -> tuple[Requests, Requests]:
    """Return the fixed requests of every observation, and as many for a closer one.

    All use the preset's test prompts, which `read` returns. The second set has other prompts, or other seeds where the
    file has too few. Both are empty where the preset has no prompts.
    """
    if not (preset.test_prompts or preset.prompts):
        return (), ()
    settings, rows = preset.alarms, read(prompt_file_of(preset))
    first = spread(rows, settings.prompts)
    others = [row for row in spread(rows, 2 * settings.prompts) if row not in first]
    if len(others) >= len(first):
        return requests_for(template, first, settings.takes), requests_for(
            template, others[: len(first)], settings.takes
        )
    known = [requests_for(template, [row], 2 * settings.takes) for row in first]
    halves = (slice(settings.takes), slice(settings.takes, None))
    one, two = (tuple(request for takes in known for request in takes[half]) for half in halves)
    return one, two


def _held_out_suite(preset: TrainPreset) -> RewardSuite | None:
    """Build a suite of the watched rewards that are not trained on; None when there are none."""
    if preset.watch is None or not preset.alarms.every:
        return None
    everything: Mix = scored_mix(preset)
    trained = scored_mix(preset.model_copy(update={"watch": None})).weights if preset.mix else {}
    left = {key: weight for key, weight in everything.weights.items() if weight > 0 and not trained.get(key)}
    return RewardSuite(everything.model_copy(update={"weights": left})) if left else None


def trained_reward(trainer: OnlineTrainer, made: Rollouts, rows: Sequence[Mapping[str, Any]]) -> Column:
    """Return each clip's weighted mean of the trained rewards that apply to it.

    `rows` are the clips' rows of the data, whose columns the reward functions get.
    """
    values = score(trainer.reward_funcs, rows, made.clips, fps=[clip.fps for clip in made.clips])
    known = ~values.isnan()
    weights = known * trainer.reward_weights
    means = (values.nan_to_num() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return tuple(mean if any(row) else None for mean, row in zip(means.tolist(), known.tolist(), strict=True))


def diversity_of(clips: Sequence[Clip], takes: int) -> list[float]:
    """Return each clip's mean difference between its prompt's clips, 0..1.

    `takes` clips of a prompt are adjacent.
    """
    small = [_thumbnails(clip) for clip in clips]
    found: list[float] = []
    for start in range(0, len(clips), takes):
        pairs = combinations(small[start : start + takes], 2)
        found += [float(np.mean([np.abs(a - b).mean() for a, b in pairs]))] * takes
    return found


def _thumbnails(clip: Clip) -> np.ndarray:
    """Return thumbnails `float32[4,16,16,3]` in 0..1."""
    chosen = clip.frames[np.linspace(0, clip.num_frames - 1, THUMB_FRAMES).round().astype(int)]
    small = [cv2.resize(frame, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA) for frame in chosen]
    return np.stack(small).astype(np.float32) / 255


def _means(look: Observation) -> dict[str, float]:
    known = {name: [value for value in column if value is not None] for name, column in look.columns.items()}
    return {f"watch/{name}": sum(values) / len(values) for name, values in known.items() if values}
