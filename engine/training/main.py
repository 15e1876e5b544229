"""Training process that starts or resumes a run: `python -m engine.training.main RUN_FOLDER`.

SIGTERM and SIGINT end it after the current step, with a checkpoint. Exit codes: 0, the run is finished; 2, it failed,
and the last line of output is the cause; 3, it was stopped by a signal or an alarm; 4, it failed because of its
settings.

`accelerate launch` or torchrun may start several such processes for one run. They train together, the first one writes
into the folder, and all of them stop when one receives a signal.
"""

import argparse
import logging
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from engine.config.presets import load_model_preset
from engine.config.reward_availability import why_rewards_unavailable
from engine.config.schema import TrainPreset
from engine.errors import DailiesError, SettingsError, TrainingError
from engine.estimation.run_estimate import forecast
from engine.execution.ray_executors import RayActors
from engine.execution.resources import Resources
from engine.families.files.sources import cached_revisions
from engine.families.loading import is_memory_full
from engine.files.atomic import replace_folder
from engine.files.locks import acquire
from engine.hardware.device import device_facts
from engine.runs.adapters import AdapterCard, write_card
from engine.runs.model_revisions import record_revisions
from engine.runs.run import Run
from engine.runs.run_inputs import few_steps, start_of
from engine.training.build import build_trainer
from engine.training.distributed.process_group import (
    any_rank,
    broadcast_object,
    is_first,
    on_rank_zero,
    process_group,
    rank,
    wait_for_all,
    world_size,
)
from engine.training.evaluation.alarm_callback import AlarmCallback
from engine.training.evaluation.reward_probes import ProbeCallback
from engine.training.evaluation.sample_sets import SampleCallback
from engine.training.exit_codes import FAILED, FINISHED, REFUSED, STOPPED
from engine.training.preflight.checks import raise_if_blocked, run_checks, save
from engine.training.resource_metrics import ResourceMetrics
from engine.training.rollout.rollout_actors import use_actors
from engine.training.trackio_mirror import TrackioMirror, mirrored
from engine.training.trainers.base import DiffusionTrainer
from engine.training.trainers.online import OnlineTrainer

log = logging.getLogger(__name__)


class Recorder(TrainerCallback):
    """Write each log to the run's metrics, and stop the `trainer` on request.

    It stops at the first step from which a resumed run equals an uninterrupted one.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._gauges = run, ResourceMetrics()
        self.trainer: DiffusionTrainer | None = None
        self.stop_requested, self._signalled = False, False

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; the processes agree on it at the end of the step."""
        self._signalled = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not is_first():
            return
        self._run.append_metrics(state.global_step, {**(logs or {}), **self._gauges.read(), "of": state.max_steps})

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._gauges.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._gauges.end_step()
        self.stop_requested = any_rank(self.stop_requested or self._signalled)
        if self.stop_requested and (self.trainer is None or self.trainer.is_safe_stop):
            control.should_save = control.should_training_stop = True


def train(run: Run, recorder: Recorder, actors: Resources | None = None) -> bool:
    """Train to the end, or until a stop request or an alarm; return whether the run is finished.

    A finished run has its adapter in its folder. `actors` of this process's Ray cluster make and score the rollouts.
    """
    preset = run.preset()
    on_rank_zero(lambda: _claim_run(run, preset))
    if actors is None and (reason := why_rewards_unavailable(preset)):  # before the model is loaded; actors score
        raise TrainingError(f"The run was not started. {reason}")
    trainer = recorder.trainer = build_trainer(preset, run, callbacks=[recorder])
    if actors is not None:
        use_actors(trainer, run, RayActors(actors), actors.processes)
    elif isinstance(trainer, OnlineTrainer):
        trainer.check_actors()
    trainer.add_callback(SampleCallback(trainer, run, preset, stopping=lambda: recorder.stop_requested))
    if mirrored():
        trainer.add_callback(TrackioMirror(run))
    trainer.add_callback(ProbeCallback(run, preset))
    alarms = AlarmCallback(trainer, run, preset)
    trainer.add_callback(alarms)
    checkpoint = on_rank_zero(run.series.newest_whole)
    if checkpoint is None:
        _run_preflight(trainer, run)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if is_first():
        alarms.discard_rolled_back()
    if recorder.stop_requested or alarms.stopped:
        return False
    _finish(trainer, run, preset)
    return True


def _finish(trainer: DiffusionTrainer, run: Run, preset: TrainPreset) -> None:
    """Write the adapter into the run's folder atomically: its presence marks the run as finished."""
    aside = run.unfinished_adapter
    if is_first():
        shutil.rmtree(aside, ignore_errors=True)
    wait_for_all()
    trainer.export(aside)
    if not is_first():
        return
    if trainer.args.lora_rank:
        write_card(aside, card_of(preset, run, trainer.args))
    replace_folder(aside, run.adapter)


def card_of(preset: TrainPreset, run: Run, args: Any) -> AdapterCard:
    """Return the card of the run's adapter."""
    frozen = preset.settings.get("frozen_adapter")
    begun = f", begun with {start_of(run)}" if start_of(run) else ""
    over = f" Use it with the adapter {frozen} at scale {args.frozen_scale:g}." if frozen else ""
    return AdapterCard(
        model=preset.model,
        note=f"{preset.title}, run {run.id}{begun}.{over}",
        distilled=not frozen and (args.makes_few_steps or few_steps(run, preset) is not None),
        **args.sampled_with(),
    )


def _claim_run(run: Run, preset: TrainPreset) -> None:
    """Lock the run until this process ends, and record the model's revision."""
    if acquire(run.lock) is None:
        raise TrainingError(f"The run {run.id} is being trained by another process: wait for it, or stop it first.")
    record_revisions(run, cached_revisions(load_model_preset(preset.model)))


def _run_preflight(trainer: DiffusionTrainer, run: Run) -> None:
    """Run the preflight and store it in the run's folder. Raises as `raise_if_blocked`."""
    shards = 1 if trainer.sharding is None else world_size()
    verdicts = broadcast_object(run_checks(run.preset(), trainer, shards))
    if is_first():
        for verdict in verdicts:
            log.info("preflight, %s: %s. %s", verdict.name, verdict.level, verdict.sentence)
        save(verdicts, run)
    raise_if_blocked(verdicts)


def run_training(run: Run, actors: Resources | None = None) -> int:
    """Train in this process until the run is finished, stopped or failed; return the exit code."""
    recorder = Recorder(run)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, recorder.request_stop)
    try:
        return FINISHED if train(run, recorder, actors) else STOPPED
    except (RuntimeError, MemoryError) as error:
        if not is_memory_full(error):
            raise
        told = out_of_memory_message(run.preset(), recorder.trainer)
        log.exception("out of memory")
        sys.stderr.write(f"{told}\n" if is_first() else f"process {rank()}: {told}\n")
        return FAILED
    except (DailiesError, OSError) as error:
        told = str(error) if isinstance(error, DailiesError) else _system_error_message(error, run)
        log.error("%s", told)
        sys.stderr.write(f"{told}\n" if is_first() else f"process {rank()}: {told}\n")
        return REFUSED if isinstance(error, SettingsError) else FAILED


def out_of_memory_message(preset: TrainPreset, trainer: DiffusionTrainer | None) -> str:
    """Return an error message: where memory ran out, the preset's estimate, and settings that need less."""
    facts = device_facts()
    where = f"at step {trainer.state.global_step}" if trainer is not None else "while the model was loaded"
    found = forecast(preset, facts.memory_gib)
    lower = "per_device_train_batch_size, rollout_batch, num_frames or the size, or set gradient_checkpointing to true"
    if found is None:
        return f"The device's memory of {facts.memory_gib:.0f} GiB is full {where}: lower {lower}."
    need = (
        f"{found.memory.low:.2g} to {found.memory.high:.2g} GiB are forecast, {facts.memory_gib:.0f} GiB are available"
    )
    advice = f"set {found.advice.setting} to {found.advice.value}" if found.advice else f"lower {lower}"
    return f"The device's memory is full {where} ({need}): {advice}, in another run, or free the device and resume."


def _system_error_message(error: OSError, run: Run) -> str:
    """Return the message of a system error; a full disk may first appear while metrics are written."""
    where = f" ({error.filename})" if error.filename else ""
    return (
        f"The system refused to read or write{where}: {error.strerror or error}. Fix that, or free space on the "
        f"disk of {run.folder}, then resume the run. Earlier files are complete."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument(
        "--actors", type=int, default=0, help="number of actors of the Ray cluster that make and score the rollouts"
    )
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of each actor")
    parser.add_argument("--cpus", type=float, default=1.0, help="CPU cores of each actor")
    given = parser.parse_args()
    run = Run(given.run.resolve())
    actors = Resources(processes=given.actors, gpus=given.gpus, cpus=given.cpus) if given.actors else None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with process_group():
        code = run_training(run, actors)
        if code in (FAILED, REFUSED):
            sys.exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
