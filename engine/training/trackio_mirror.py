"""Copy of the run's metrics in Trackio's local store, for its dashboard.

DAILIES_TRACKIO=0 disables it.

The run's own metrics.jsonl is authoritative: it moves with the run, and nothing is read back from Trackio.
"""

import os
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from transformers import TrainerCallback

from engine.runs.run import Run

VARIABLE, PROJECT = "DAILIES_TRACKIO", "dailies"


def mirrored() -> bool:
    return os.environ.get(VARIABLE, "1").strip() != "0"


class TrackioMirror(TrainerCallback):
    """Writes each log to the store of the workspace. Trackio reads its folder's name once, on import."""

    def __init__(self, run: Run) -> None:
        self._run = run
        os.environ["TRACKIO_DIR"] = str(run.workspace.trackio)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            import trackio
            from trackio.run import Run as TrackioRun

            # It would ask the hub for the name behind a token that lies on this machine: nothing here leaves it.
            TrackioRun._get_username = _nobody
            config = self._run.preset().model_dump(mode="json")
            options: dict[str, Any] = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
            with redirect_stdout(StringIO()):  # it announces an upload that a local store does not make
                trackio.init(project=PROJECT, name=self._run.id, config=config, resume="allow", **options)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero:
            import trackio

            trackio.log({k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            import trackio

            with redirect_stdout(StringIO()):
                trackio.finish()


def _nobody(run: Any) -> None:
    return None
