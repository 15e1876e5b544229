"""Preflight checks of the rewards of one generation batch."""

import math
from collections.abc import Iterator

import torch

from engine.training.distributed.process_group import all_gather_rows
from engine.training.evaluation.intervals import MIN_PROMPTS
from engine.training.evaluation.motion import motion_of, reward_speed_correlation
from engine.training.preflight.preflight_check import Level, PreflightCheck
from engine.training.rollout.reward_calls import name_of
from engine.training.trainers.online import OnlineTrainer, RolloutBatch

DEAD_LIMIT = 0.5
STILL_LIMIT = 0.3
"""Maximum negative correlation of reward and speed."""


def reward_checks(trainer: OnlineTrainer, batch: RolloutBatch) -> list[PreflightCheck]:
    """Check that every reward is available, and that what clips earn can be learned from."""
    verdicts = [*_missing(trainer), _scored(batch)]
    if all(verdict.level != "stop" for verdict in verdicts):
        verdicts += [_dead_groups(float(batch.group_advantages.dead.float().mean())), _stillness(trainer, batch)]
    return verdicts


def _missing(trainer: OnlineTrainer) -> Iterator[PreflightCheck]:
    """Check each reward that applied to no clip, such as one whose network is not installed."""
    for function in trainer.reward_funcs:
        name = name_of(function)
        why = getattr(function, "why_missing", lambda: None)()
        if why is not None:
            advice = (
                "Without it the run would learn from the other rewards alone: get it, or train on a mix without it."
            )
            sentence = f"The reward '{why[0]}' is missing. {why[1]} {advice}"
            yield PreflightCheck(name="rewards", level="stop", sentence=sentence, outside=True)
        elif f"rewards/{name}/mean" not in trainer.sums:
            sentence = (
                f"The reward '{name}' applies to no clip of the first batch, so nothing is learned from it there."
            )
            yield PreflightCheck(name="rewards", level="warning", sentence=sentence)


def _scored(batch: RolloutBatch) -> PreflightCheck:
    """Check that clips earn a reward."""
    unscored = float(batch.group_advantages.unscored.float().mean())
    if unscored == 1:
        sentence = "No reward applies to any clip: choose another mix."
        return PreflightCheck(name="rewards", level="stop", sentence=sentence)
    level: Level = "warning" if unscored > 0.5 else "ok"
    mean = float(batch.group_advantages.rewards.nanmean())
    sentence = f"{unscored:.0%} of the clips earn no reward; mean {mean:.3f}."
    return PreflightCheck(name="rewards", level=level, sentence=sentence)


def _dead_groups(share: float) -> PreflightCheck:
    """Check the fraction of groups whose clips all have the same reward, which give no gradient."""
    sentence = f"In {share:.0%} of the groups all clips earn the same"
    if share == 1:
        return PreflightCheck(
            name="groups", level="stop", sentence=f"{sentence}: the reward is constant, so nothing can be learned."
        )
    if share > DEAD_LIMIT:
        return PreflightCheck(name="groups", level="warning", sentence=f"{sentence}: make the groups larger.")
    return PreflightCheck(name="groups", level="ok", sentence=f"{sentence}.")


def _stillness(trainer: OnlineTrainer, batch: RolloutBatch) -> PreflightCheck:
    """Check that slower clips do not earn more, since training would then end in static clips."""
    group, size = batch.group_advantages, trainer.args.num_generations
    speeds = all_gather_rows(torch.tensor([motion_of(clip) for clip in batch.rollouts.clips])).tolist()
    advantages = group.values.masked_fill(group.unscored, math.nan).tolist()
    paid = reward_speed_correlation(speeds, advantages, [str(number // size) for number in range(len(speeds))])
    if paid.of < MIN_PROMPTS:
        counted = f"{paid.of} of {MIN_PROMPTS}"
        sentence = f"A batch has too few prompts ({counted}) to tell whether the reward favours static clips."
        return PreflightCheck(name="motion", level="unknown", sentence=sentence)
    span = f"95 % {paid.low:+.2f} to {paid.high:+.2f}, {paid.of} prompts"
    finding = f"(correlation within a prompt {paid.mean:+.2f}, {span})"
    if paid.mean < -STILL_LIMIT and paid.high < 0:
        advice = 'let `alarms.motion` pause the run, or train on a mix whose motion gate counts (rewards = "total")'
        sentence = f"The slower a clip is, the more it earns {finding}, so static clips may be learned: {advice}."
        return PreflightCheck(name="motion", level="warning", sentence=sentence)
    return PreflightCheck(name="motion", level="ok", sentence=f"The reward does not favour static clips {finding}.")
