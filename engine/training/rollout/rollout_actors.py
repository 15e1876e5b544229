"""Rollouts made and scored by actors: each receives the current weights and a part of the requests.

An actor opens the run as its trainer does, with the same network, noise levels and rewards. A clip is determined by its
request and the weights: it does not depend on which actor makes it, or on the rest of the batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import ConfigError
from engine.execution.executors import Completed, Executor, Task
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.training.build import build_trainer
from engine.training.distributed.process_group import world_size
from engine.training.rollout.reward_calls import check_whole_groups
from engine.training.rollout.rollouts import Rollouts, concat_rollouts, to_device
from engine.training.trainers.online import AHEAD, OnlineTrainer
from engine.training.weights import WeightCopy, trainable


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutShard:
    """Work of one actor: clips of `requests` of generation batch `iteration`, by these `weights`.

    `rows` are the requests' rows of the data, whose columns the reward functions get.
    """

    iteration: int
    weights: dict[str, Tensor]
    requests: list[GenerationRequest]
    rows: list[Mapping[str, Any]]


class RolloutActors:
    """Rollout back end that divides a batch into `count` shards for `executor`."""

    def __init__(self, run: Run, executor: Executor, count: int) -> None:
        self._task = Task(
            opens="engine.training.rollout.rollout_actors:open_rollout_worker", config={"run": str(run.folder)}
        )
        self._executor, self._count = executor, count
        self._begun: tuple[int, Callable[[], Rollouts]] | None = None

    def generate(
        self, trainer: OnlineTrainer, requests: Sequence[GenerationRequest], rows: Sequence[Mapping[str, Any]]
    ) -> Rollouts:
        """Return the clips with their rewards, in the order of the requests, on the trainer's device."""
        return self._begin(trainer, trainer.iteration, requests, rows)()

    def generate_ahead(
        self, trainer: OnlineTrainer, requests: Sequence[GenerationRequest], rows: Sequence[Mapping[str, Any]]
    ) -> Rollouts:
        """Return the clips that the weights of the previous generation batch made, and begin the next batch's.

        Clips that were not begun, as in a run that resumes, are made now by the same weights, the copy `AHEAD`. They
        are therefore the same. Logs how many updates older than the current weights these are.
        """
        iteration, maker = trainer.iteration, trainer.copies[AHEAD]
        begun, self._begun = self._begun, None
        if begun is None or begun[0] != iteration:
            with maker.applied():
                begun = iteration, self._begin(trainer, iteration, requests, rows)
        rollouts = begun[1]()
        trainer.follow()
        step = trainer.begin_of(iteration)[0]
        trainer.log_metric(rollout__staleness=step - trainer.begin_of(max(0, iteration - 1))[0])
        following = iteration + 1
        if trainer.begin_of(following)[0] < trainer.state.max_steps:
            rows = trainer.rows_of(following)
            with maker.applied():
                self._begun = following, self._begin(trainer, following, trainer.requests_for(rows, following), rows)
        return replace(rollouts, decode_s=0.0)  # of the time that the trainer waits, none is for decoding alone

    def _begin(
        self,
        trainer: OnlineTrainer,
        iteration: int,
        requests: Sequence[GenerationRequest],
        rows: Sequence[Mapping[str, Any]],
    ) -> Callable[[], Rollouts]:
        """Give the actors their work, with the network's present weights; the result waits for theirs."""
        network: Any = trainer.family.network
        own = getattr(network, "_orig_mod", network)  # of a compiled network, whose names have a prefix
        weights = {name: parameter.detach().cpu() for name, parameter in trainable(own)}
        size = -(-len(requests) // self._count)
        check_whole_groups(trainer.reward_funcs, size, trainer.args.num_generations)
        cuts = [slice(start, start + size) for start in range(0, len(requests), size)]
        shares = [
            RolloutShard(iteration=iteration, weights=weights, requests=list(requests[cut]), rows=list(rows[cut]))
            for cut in cuts
        ]
        events = self._executor.map(self._task, shares)

        def collected() -> Rollouts:
            parts = {event.index: event.result for event in events if isinstance(event, Completed)}
            made = concat_rollouts([parts[index] for index in range(len(shares))])
            side_by_side = replace(made, decode_s=max(part.decode_s for part in parts.values()))
            return to_device(side_by_side, trainer.args.device)

        return collected


def open_rollout_worker(config: Mapping[str, Any]) -> Callable[[RolloutShard], Rollouts]:
    """Return a function that makes and scores a shard on this process's device.

    `config["run"]` is the run's folder.
    """
    run = Run(Path(config["run"]))
    trainer = build_trainer(run.preset(), run)
    assert isinstance(trainer, OnlineTrainer), "only such a trainer asks for rollouts"
    parameters = dict(trainable(trainer.family.network))

    def roll(share: RolloutShard) -> Rollouts:
        trainer.state.global_step, trainer.micro_step = trainer.begin_of(share.iteration)
        trainer._at = trainer.state.global_step
        with torch.no_grad():
            for name, value in share.weights.items():
                parameters[name].copy_(value)
        with trainer._scoring(share.rows) as scoring:
            # By these weights, whichever policy's they are: not by the subclass's own policy for rollouts.
            rollouts = OnlineTrainer._generate_rollouts(trainer, share.requests, scoring)
            rewards = trainer._rewards(scoring, rollouts)
        return to_device(replace(rollouts, rewards=rewards), torch.device("cpu"))

    return roll


def use_actors(trainer: Any, run: Run, executor: Executor, count: int) -> None:
    """Let `count` actors make the trainer's rollouts, one step off where it is set.

    Raises ConfigError for a trainer without rollouts.
    """
    if not isinstance(trainer, OnlineTrainer):
        raise ConfigError(f"'{run.preset().algorithm}' makes no clips that actors could share: leave --actors out.")
    if world_size() > 1:
        raise ConfigError(f"--actors serve one process, but {world_size()} train: use --processes 1.")
    trainer.actors = RolloutActors(run, executor, count)
    if trainer.args.one_step_off is not False:
        trainer.copies[AHEAD] = WeightCopy(trainer.family.network)
