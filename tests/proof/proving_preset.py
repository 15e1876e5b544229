"""What the proofs of presets share: trained as `dailies train` trains, measured as `dailies evaluate` measures."""

import os
import shutil
from typing import Any

from proving import OUT, Proof

from engine.config.presets import load_train_preset
from engine.runs.results import Evaluation, Measure
from engine.runs.run import Run
from engine.training.evaluation.evaluate import JUDGE, TOTAL
from engine.training.main import Recorder, train
from engine.workspace import Workspace

COURSE = ("reward", "loss", "kl", "ratio/spread", "clip_ratio", "frac_reward_zero_std", "grad_norm")


def short_form(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Changes to a preset with which it takes seconds and proves nothing."""
    return {"settings": {"seed": seed, "sample_clips": 0, **settings}, "alarms": {"every": 0}}


def trained(name: str, preset: str, proof: Proof, changes: dict[str, Any]) -> Run:
    """A new run of the preset, trained to its end; it stays in `build/proof/<name>` until the next proof."""
    os.environ["DAILIES_TRACKIO"] = "0"
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.create(Workspace(folder).prepare(), load_train_preset(preset, changes))
    train(run, Recorder(run))
    for row in run.metrics():
        course = {
            key: round(value, 6)
            for key, value in row.items()
            if key in COURSE or key.startswith(("rewards/", "time/", "watch/", "error/"))
        }
        if course:
            proof.say("point", run=name, step=row["step"], **course)
    return run


def finished(evaluating: Any) -> Evaluation:
    """What the evaluation gives in the end."""
    while True:
        try:
            next(evaluating)
        except StopIteration as end:
            found: Evaluation = end.value
            return found


def figures(measure: Measure) -> dict[str, float]:
    """The least that the change surely is, as the claim's value, with the rest beside it."""
    change = measure.change
    return {
        "value": change.low,
        "before": round(measure.before.mean, 4),
        "after": round(measure.after.mean, 4),
        "mean": round(change.mean, 4),
        "low": round(change.low, 4),
        "high": round(change.high, 4),
        "of": change.of,
    }


def tell_rest(proof: Proof, found: Evaluation) -> None:
    """Every other measure, those that were trained on and those that were not."""
    for measure in found.measures:
        if measure.name not in (TOTAL, JUDGE):
            proof.say("measure", name=measure.name, role=measure.role, verdict=measure.verdict, **figures(measure))
