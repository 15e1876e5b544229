"""Cost of an update of each algorithm: network passes, and what must be in memory. Imports no torch.

`engine.config.algorithms.ALGORITHMS` names these functions.
"""

from dataclasses import dataclass
from typing import cast

from engine.config.algorithms import ALGORITHMS
from engine.estimation.run_plan import RunPlan
from rewards.import_object import import_object


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCost:
    """Passes of the network over one clip per update, `forward` without gradients and `trained` with them.

    `graph` passes keep their activations at once. `copies` of the trained weights are kept, such as older policies and
    the model before training; the average is counted apart. `adapters` are trained.
    """

    forward: float
    trained: float
    graph: int
    copies: int = 0
    adapters: int = 1


def cost_of(planned: RunPlan) -> UpdateCost:
    """Return the cost of an update by the plan's algorithm."""
    return cast(UpdateCost, import_object(ALGORITHMS[planned.preset.algorithm].cost)(planned))


def dpo(planned: RunPlan) -> UpdateCost:
    clips = 2 * planned.clips_per_update  # the chosen and the rejected one
    return UpdateCost(forward=clips, trained=clips, graph=2 * planned.batch)


def kto(planned: RunPlan) -> UpdateCost:
    return UpdateCost(forward=planned.clips_per_update, trained=planned.clips_per_update, graph=planned.batch)


def sft(planned: RunPlan) -> UpdateCost:
    return UpdateCost(forward=0, trained=planned.clips_per_update, graph=planned.batch)


def grpo(planned: RunPlan) -> UpdateCost:
    values = planned.values
    candidates = min(values["num_steps"] - 1, int(values["step_share"] * values["num_steps"]))
    window = int(values["window"] or max(1, candidates))  # SDE steps of a clip
    clips = planned.clips_per_update * planned.rows_per_clip
    return UpdateCost(
        forward=clips * (values["num_steps"] / values["num_iterations"] + (window if values["beta"] else 0)),
        trained=clips * window,
        graph=planned.batch * planned.rows_per_clip * min(int(values["steps_per_replay"]), window),
    )


def nft(planned: RunPlan) -> UpdateCost:
    old = 1  # policy
    return _forward_process(planned, compared=old + bool(planned.values["beta"]), copies=old)


def awm(planned: RunPlan) -> UpdateCost:
    values, weighting = planned.values, planned.values["weighting"]
    copies = (weighting != "rvm") + bool(values["moving_beta"])
    return _forward_process(planned, compared=copies + bool(values["beta"] or weighting == "dgpo"), copies=copies)


def _forward_process(planned: RunPlan, *, compared: int, copies: int) -> UpdateCost:
    """Return the cost where each trained level is also computed by `compared` other weights."""
    values, clips = planned.values, planned.clips_per_update
    trained = clips * int(values["levels_per_clip"])
    rollout = clips * planned.rows_per_clip * values["num_steps"] / values["num_iterations"]
    return UpdateCost(
        forward=rollout + trained * compared,
        trained=trained,
        graph=planned.batch * planned.rows_per_clip,
        copies=copies,
    )


def draft(planned: RunPlan) -> UpdateCost:
    values, rows = planned.values, planned.clips_per_update * planned.rows_per_clip
    trained = rows * int(values["backprop_steps"])
    without = rows * values["num_steps"] - trained
    return UpdateCost(
        forward=without + (trained if values["beta"] else 0),
        trained=trained,
        graph=planned.rows_per_clip * int(values["backprop_steps"]),  # one clip after another
    )


def distill(planned: RunPlan) -> UpdateCost:
    values, steps = planned.values, int(planned.values["student_steps"])
    trained = planned.clips_per_update * steps
    teacher = values["rollout_clips"] * planned.rows_per_clip * values["num_steps"] / values["steps_per_rollout"]
    jumps = trained * (1 - steps / values["num_steps"]) if values["target"] == "consistency" else 0
    return UpdateCost(forward=teacher + max(0, jumps), trained=trained, graph=planned.batch, copies=1)  # the teacher


def dmd(planned: RunPlan) -> UpdateCost:
    values, clips = planned.values, planned.clips_per_update
    own, critic = (int(values["student_steps"]) - 1) / 2, int(values["critic_updates"])
    compared = (critic + 1 + planned.rows_per_clip) / (critic + 1)
    return UpdateCost(forward=clips * (own + compared), trained=clips, graph=planned.batch, adapters=2)
