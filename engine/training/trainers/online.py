"""`OnlineTrainer`: what trainers share that make clips by the policy itself, have them scored, and learn from groups.

The rhythm is `trl.GRPOTrainer`'s. A generation batch holds P prompts with G = `num_generations` clips each; it is cut
into `steps_per_generation` batches, gone through `num_iterations` times, then the next one is made.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from trl.trainer.utils import RepeatSampler

from engine.algorithms.advantages import Advantages, advantages
from engine.errors import ConfigError
from engine.model_spec import ModelFamily
from engine.request import GenerationRequest
from engine.sampling.steps import StepFunction
from engine.seeds import seed_for
from engine.training.distributed.process_group import all_gather_rows, local_slice, rank, world_size
from engine.training.rollout.reward_calls import RewardFunc, name_of, score
from engine.training.rollout.rollouts import Rollouts, generate_rollouts
from engine.training.trainers.base import DiffusionTrainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutBatch:
    """Rows of the buffer that one training step learns from: `index` into the rollouts of this process. `found` is of
    the rollouts of all processes, among which this one's begin at `offset`."""

    index: list[int]
    rollouts: Rollouts
    found: Advantages
    offset: int = 0

    @property
    def advantages(self) -> Tensor:
        return self.found.values[self.offset :][self.index]

    @property
    def prompts(self) -> list[str]:
        return [self.rollouts.requests[row].prompt for row in self.index]


class RolloutBackend(Protocol):
    """Who else can make a trainer's rollouts, see engine.training.rollout.rollout_actors."""

    def generate(self, trainer: "OnlineTrainer", requests: Sequence[GenerationRequest]) -> Rollouts: ...


class EpochRepeatSampler(RepeatSampler):
    """TRL's sampler, whose order follows from seed and epoch: a resumed run sees the same rows as one never stopped."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed(seed_for(self.seed or 0, step=epoch))


class OnlineTrainer(DiffusionTrainer):
    """A subclass says how a step is random, which steps are kept, and gives `losses` of a `Batch`.

    `train_dataset` holds rows with a `prompt` (or plain texts); further columns go to the reward functions.
    """

    def __init__(
        self,
        model: ModelFamily | str,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: Any,
        train_dataset: Any,
        **others: Any,
    ) -> None:
        rows = [{"prompt": row} if isinstance(row, str) else dict(row) for row in train_dataset or ()]
        self.reward_funcs = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
        _check(rows, self.reward_funcs, args)
        weights = args.reward_weights or [1.0] * len(self.reward_funcs)
        self.reward_weights = torch.tensor(weights, dtype=torch.float32)
        self.buffer: list[RolloutBatch] = []
        self.actors: RolloutBackend | None = None
        super().__init__(model, args, rows, **others)

    # ------------------------------------------------------------------------------------------------- TRL's rhythm

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Every item is this process's share of a generation batch, given again for each step that learns from it.

        Groups lie in a row, so that a share may begin or end within one.
        """
        args = self.args
        sampler = EpochRepeatSampler(
            self.train_dataset,
            mini_repeat_count=args.num_generations,
            batch_size=args.generation_batch_size // args.num_generations,
            repeat_count=args.num_iterations * args.steps_per_generation,
            shuffle=args.shuffle_dataset is not False,
            seed=args.seed,
        )
        size = args.per_device_train_batch_size * args.steps_per_generation
        loader = DataLoader(self.train_dataset, batch_size=size, sampler=sampler, collate_fn=list, drop_last=True)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def _prepare_inputs(self, inputs: Any) -> RolloutBatch:
        position = self._position % self._batches_per_generation
        if position == 0 or not self.buffer:
            self.buffer = self._generate_and_score(inputs)
        return self.buffer[position % self.args.steps_per_generation]

    @property
    def _batches_per_generation(self) -> int:
        batches: int = self.args.steps_per_generation * self.args.num_iterations
        return batches

    @property
    def _generations_per_epoch(self) -> int:
        prompts = self.args.generation_batch_size // self.args.num_generations
        return max(1, len(self.train_dataset) // prompts)

    @property
    def _updates_per_epoch(self) -> int:
        """As the library counts them: the last update of an epoch may have fewer batches than the others."""
        return math.ceil(self._generations_per_epoch * self._batches_per_generation / self._accumulation)

    @property
    def _accumulation(self) -> int:
        steps: int = self.args.gradient_accumulation_steps
        return steps

    @property
    def _position(self) -> int:
        """The number of the present batch in its epoch, from 0."""
        done = self.state.global_step % self._updates_per_epoch * self._accumulation
        return done + (self.micro_step if self._at == self.state.global_step else 0)

    @property
    def updates_per_generation(self) -> int:
        """After how many updates, counted from any of them that ends together with a generation batch, one does again.

        That is more than one generation batch where an update's accumulation reaches over the end of it, and a whole
        epoch where the last update of an epoch has fewer batches and so shifts the count.
        """
        updates = math.lcm(self._batches_per_generation, self._accumulation) // self._accumulation
        return updates if self._updates_per_epoch % updates == 0 else self._updates_per_epoch

    @property
    def is_safe_stop(self) -> bool:
        """Whether a run that ends here goes on as if it had not: nothing is left of a generation batch."""
        in_epoch = self.state.global_step % self._updates_per_epoch
        return in_epoch * self._accumulation % self._batches_per_generation == 0

    # ---------------------------------------------------------------------------------------------------- one rollout

    def random_step(self) -> StepFunction | None:
        """How a step inside the window goes; None: as any other."""
        return None

    def window(self) -> range:
        """Which steps are random and kept in this iteration."""
        return range(0)

    @property
    def iteration(self) -> int:
        """How many generation batches were made before this one."""
        epochs = self.state.global_step // self._updates_per_epoch
        return epochs * self._generations_per_epoch + self._position // self._batches_per_generation

    def first_generation_batch(self) -> list[RolloutBatch]:
        """The first generation batch as training would make it, in the data set's order; nothing is updated."""
        size = self.args.num_generations
        prompts = self.args.generation_batch_size // size
        rows = [row for row in self.train_dataset[:prompts] for _ in range(size)]
        return self._generate_and_score(rows[local_slice(len(rows) // world_size())])

    def _generate_and_score(self, rows: Sequence[Mapping[str, Any]]) -> list[RolloutBatch]:
        began = time.perf_counter()
        rollouts = self._generate_rollouts(self._requests(rows))
        rolled_out = time.perf_counter()
        rewards = all_gather_rows(self._score(rows, rollouts))  # a group may lie in two processes
        self.log_metric(
            time__rollout=rolled_out - began - rollouts.decode_s,
            time__decode=rollouts.decode_s,
            time__score=time.perf_counter() - rolled_out,
        )
        found = advantages(
            rewards,
            self.args.num_generations,
            weights=self.reward_weights,
            scale=self.args.advantage_scale,
            aggregation=self.args.multi_objective_aggregation,
            floor=self.args.advantage_floor,
            limit=self.args.advantage_limit,
        )
        self._log_rewards(rewards, found)
        size = self.args.per_device_train_batch_size
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self._seed("order"))).tolist()
        return [
            RolloutBatch(index=order[start : start + size], rollouts=rollouts, found=found, offset=rank() * len(rows))
            for start in range(0, len(order), size)
        ]

    def _generate_rollouts(self, requests: list[GenerationRequest]) -> Rollouts:
        if self.actors is not None:
            return self.actors.generate(self, requests)
        return generate_rollouts(
            self.family,
            requests,
            self.prompts,
            random_step=self.random_step(),
            window=self.window(),
            batch=self.args.rollout_batch,
        )

    def _requests(self, rows: Sequence[Mapping[str, Any]]) -> list[GenerationRequest]:
        """A request for each row; equal prompts in a row, over all processes, are the takes of one group."""
        size, first = self.args.num_generations, rank() * len(rows)
        return [
            self.template.model_copy(
                update={"prompt": str(row["prompt"]), "seed": self._seed(str(row["prompt"]), position % size)}
            )
            for position, row in enumerate(rows, start=first)
        ]

    def _seed(self, prompt: str, sample: int = 0) -> int:
        return seed_for(self.args.seed, step=self.iteration, prompt=prompt, sample=sample)

    def _score(self, rows: Sequence[Mapping[str, Any]], rollouts: Rollouts) -> Tensor:
        if rollouts.rewards is not None:
            return rollouts.rewards
        return score(
            self.reward_funcs,
            rows,
            rollouts.clips,
            fps=[clip.fps for clip in rollouts.clips],
            trainer_state=self.state,
            log_extra=self._log_extra,
            log_metric=lambda name, value: self.log_metric(**{name: value}),
        )

    def _log_extra(self, column: str, values: Sequence[Any]) -> None:
        """TRL's `log_extra`: numbers become the metric `extra/COLUMN`, their mean; other values go to the log."""
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if numbers:
            self.log_metric(**{f"extra/{column}": sum(numbers) / len(numbers)})
        else:
            log.info("step %d, %s: %s", self.state.global_step, column, list(values))

    def _log_rewards(self, rewards: Tensor, found: Advantages) -> None:
        """TRL's names; a reward that applied to no clip has no mean."""
        for column, function in enumerate(self.reward_funcs):
            known = rewards[:, column][~rewards[:, column].isnan()]
            if len(known):
                self.log_metric(**{f"rewards/{name_of(function)}/mean": known.mean()})
                self.log_metric(**{f"rewards/{name_of(function)}/std": known.std(correction=0)})
        scored = found.rewards[~found.unscored]
        if len(scored):
            self.log_metric(reward=scored.mean(), reward_std=scored.std(correction=0))
        self.log_metric(frac_reward_zero_std=found.dead.float().mean())

    def losses(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        raise NotImplementedError


def _check(rows: list[dict[str, Any]], functions: list[RewardFunc], args: Any) -> None:
    if not rows:
        raise ConfigError("There are no prompts to train on: give at least one.")
    if not functions:
        raise ConfigError("There is no reward to train on: give at least one reward function.")
    if any(isinstance(function, torch.nn.Module) for function in functions):
        raise ConfigError(
            "A reward given as a network would be read as a text classifier by TRL: wrap it in a function."
        )
    weights = args.reward_weights
    if weights is not None and len(weights) != len(functions):
        raise ConfigError(f"There are {len(weights)} reward_weights for {len(functions)} rewards: give one for each.")
    needed = args.generation_batch_size // args.num_generations
    if len(rows) < needed:
        raise ConfigError(
            f"A generation batch takes {needed} prompts, but there are {len(rows)}: give more prompts, or lower "
            "gradient_accumulation_steps, the batch size or generation_batch_size."
        )
