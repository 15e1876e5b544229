"""Probes of a run's external rewards.

The models behind them must stay the same from the run's first step to its last. At the start each external reward of
the preset answers a fixed clip (`rewards.external.probe`). Address, model, version, scores and a fingerprint of the
declaration are stored in the run's folder. The probe is repeated at every check for alarms and when the run is resumed.
Another model, declaration or score raises an alarm, since rewards before and after it do not compare, and so does a
missing answer. Changes of declarations have no effect on a run before it is resumed.
"""

import json
import logging
from collections.abc import Sequence
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
from rewards.external.probe import ProbeResult, has_changed, probes_of
from rewards.external.registry import base_declaration, hold_declarations, release_declarations

DEFAULT_EVERY = 25  # updates, where the preset has no checks for alarms

CHANGED = (
    "answers the probe clip differently than at the start of the run: its model, version or declaration has changed, "
    "so rewards before and after do not compare."
)
SILENT = "is missing, so nothing is learned from it:"

log = logging.getLogger(__name__)


class ProbeCallback(TrainerCallback):
    """Probe the external rewards of a preset; raise alarms for changed answers."""

    def __init__(self, run: Run, preset: TrainPreset) -> None:
        self._run = run
        self._every = preset.alarms.every or DEFAULT_EVERY
        self._keys = [] if preset.mix is None else [key for key, weight in scored_mix(preset).weights.items() if weight]
        self._first: dict[str, Any] = {}
        self._silent: set[str] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the first answers, or compare with those of the run's start.

        Raises TrainingError without answer. Only a required reward needs an answer.
        """
        hold_declarations(self._keys)
        if not is_first():
            return
        answers = probes_of(self._keys)
        for answer in answers:
            if answer.error and base_declaration(answer.key).required:
                raise TrainingError(f"{answer.error} The reward is required: start its server, or leave it out.")
        self._first = self._read()
        self._check(answers, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Probe again at every check."""
        if is_first() and state.global_step % self._every == 0:
            self._check(probes_of(self._keys), state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let later work of this process read changed declarations."""
        release_declarations()

    def _check(self, answers: Sequence[ProbeResult], step: int) -> None:
        """Record first answers; raise one alarm for each change, and one for each time without answers."""
        new = {answer.key: asdict(answer) for answer in answers if not answer.error and answer.key not in self._first}
        if new:
            self._first |= new
            write_text_atomic(self._run.external_rewards_file, json.dumps({**self._read(), **new}, indent=1) + "\n")
        for answer in answers:
            if answer.error and answer.key not in self._silent:
                self._alarm(answer.key, step, f"'{answer.key}' {SILENT} {answer.error}")
            elif not answer.error and has_changed(self._first[answer.key], answer):
                self._first[answer.key] = asdict(answer)
                self._alarm(answer.key, step, f"'{answer.key}' ({answer.identity}) {CHANGED}")
        self._silent = {answer.key for answer in answers if answer.error}

    def _alarm(self, key: str, step: int, problem: str) -> None:
        sentence = f"The external reward {problem}"
        log.warning("alarm at step %d: %s", step, sentence)
        self._run.append_alarm(Alarm(step=step, name=f"probe/{key}", sentence=sentence, value=1, limit=0))

    def _read(self) -> dict[str, Any]:
        try:
            stored = json.loads(self._run.external_rewards_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}
