"""What the proofs of recipes share: trained as `dailies train` trains, measured as `dailies evaluate` measures.

The recipe's mix is a few of the rewards; the others, and the judge, are in no training, and the prompts of the
evaluation neither.
"""

import os
import shutil
from typing import Any

from proving import OUT, Proof, open_mini

from engine.config.presets import load_train_preset
from engine.data.findings import Evaluation, Measure
from engine.data.runs import Run
from engine.data.workspace import Workspace
from engine.training.evaluate import JUDGE, TOTAL, evaluate, plan_of
from engine.training.run import Recorder, train

COURSE = ("reward", "loss", "kl", "ratio/spread", "clip_ratio", "frac_reward_zero_std", "grad_norm")
SHORT = {
    "max_steps": 2,
    "num_generations": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "num_steps": 4,
    "ema_decay": 0.0,
    "save_steps": 2,
}


def prove_online(name: str, recipe: str, *, short: bool, seed: int) -> int:
    proof = Proof(name)
    run = trained(name, recipe, proof, short_form(SHORT, seed) if short else {"settings": {"seed": seed}})
    found = finished(evaluate(open_mini(), plan_of(run, num_prompts=4 if short else 48, takes=2)))
    run.save_evaluation(found)
    mix, judge = found.measure(TOTAL), found.measure(JUDGE)
    assert mix is not None and judge is not None, "mini has a judge, and an online recipe a mix"
    proof.claim("the trained mix rises on held-out prompts", **figures(mix), floor=-1 if short else 0)
    proof.claim(
        "the held-out judge rises on held-out prompts",
        **figures(judge),
        floor=-1 if short else 0,
        share_of_error_removed=round(judge.change.mean / (1 - judge.before.mean), 4),
        goal=0.3333,
    )
    proof.say("alarms", raised=[alarm.model_dump() for alarm in run.alarms()])
    tell_rest(proof, found)
    return proof.ended()


def short_form(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Changes to a recipe with which it takes seconds and proves nothing."""
    return {"settings": {"seed": seed, "sample_clips": 0, **settings}, "alarms": {"every": 0}}


def trained(name: str, recipe: str, proof: Proof, changes: dict[str, Any]) -> Run:
    """A new run of the recipe, trained to its end; it stays in `build/proof/<name>` until the next proof."""
    os.environ["DAILIES_TRACKIO"] = "0"
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.create(Workspace(folder).prepare(), load_train_preset(recipe, changes))
    train(run, Recorder(run))
    for row in run.metrics():
        course = {
            key: round(value, 6)
            for key, value in row.items()
            if key in COURSE or key.startswith(("rewards/", "time/", "watch/", "error/"))
        }
        if course:
            proof.say("point", step=row["step"], **course)
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
