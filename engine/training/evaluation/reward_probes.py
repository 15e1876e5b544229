"""Probes of a run's external rewards.

The models behind them must stay the same from the run's first step to its last. At the start each external reward of
the preset answers a fixed clip (`rewards.external.probe`). Address, model, version and a digest of the answer are
stored in the run's folder. The probe is repeated at every check for alarms and when the run is resumed; another digest
raises an alarm, since rewards before and after it do not compare.
"""

import json
import logging
from dataclasses import asdict
from typing import Any

from transformers import TrainerCallback

from engine.config.schema import TrainPreset
from engine.errors import TrainingError
from engine.files.atomic import write_text_atomic
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.training.distributed.process_group import is_first
from engine.training.evaluation.evaluate import scored_mix
from rewards.external.probe import ProbeResult, probes_of
from rewards.external.registry import base_declaration

DEFAULT_EVERY = 25  # updates, where the preset has no checks for alarms

log = logging.getLogger(__name__)


class ProbeCallback(TrainerCallback):
    """Probe the external rewards of a preset, record their answers, and raise an alarm for a changed one."""

    def __init__(self, run: Run, preset: TrainPreset) -> None:
        self._run = run
        self._every = preset.alarms.every or DEFAULT_EVERY
        self._keys = [] if preset.mix is None else [key for key, weight in scored_mix(preset).weights.items() if weight]
        self._digests: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the first answers, or compare with those of the run's start.

        Raises TrainingError without answer. Only a required reward needs an answer.
        """
        if not is_first():
            return
        known = self._read()
        answers = probes_of(self._keys)
        for answer in answers:
            if answer.error and base_declaration(answer.key).required:
                raise TrainingError(f"{answer.error} The reward is required: start its server, or leave it out.")
        if not answers:
            return
        rows = {answer.key: known.get(answer.key) or asdict(answer) for answer in answers if not answer.error}
        write_text_atomic(self._run.external_rewards_file, json.dumps({**known, **rows}, indent=1) + "\n")
        self._digests = {key: str(row["digest"]) for key, row in rows.items()}
        self._compare(answers, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Probe again at every check."""
        if self._digests and is_first() and state.global_step % self._every == 0:
            self._compare(probes_of(self._keys), state.global_step)

    def _compare(self, answers: list[ProbeResult], step: int) -> None:
        for answer in answers:
            if answer.error or self._digests.get(answer.key, answer.digest) == answer.digest:
                continue
            self._digests[answer.key] = answer.digest  # one alarm for each change
            sentence = (
                f"The external reward '{answer.key}' ({answer.identity}) answers the probe clip differently than at "
                "the start of the run: its model or version has changed, so rewards before and after do not compare."
            )
            log.warning("alarm at step %d: %s", step, sentence)
            self._run.append_alarm(Alarm(step=step, name=f"probe/{answer.key}", sentence=sentence, value=1, limit=0))

    def _read(self) -> dict[str, Any]:
        try:
            stored = json.loads(self._run.external_rewards_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}
