"""`OnlineTrainer`: base class of trainers that learn from scored groups of the policy's own clips."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from engine.algorithms.advantages import Advantages, advantages
from engine.errors import ConfigError
from engine.family_interface import ModelFamily
from engine.generation.validation import check_pictures
from engine.request import GenerationRequest
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.sampling.steps import StepFunction
from engine.seeds import generator_for, seed_for
from engine.training.data.clip_latents import Stored
from engine.training.data.clip_rows import read_captioned
from engine.training.data.one_size_batches import OneSizeSampler
from engine.training.data.prompt_rows import check_prompts, numbered, request_fields, with_stored_pictures
from engine.training.distributed.checkpoint import fill, read_tensors
from engine.training.distributed.process_group import all_gather_rows, local_slice, rank, world_size
from engine.training.rollout.drift import drift_of
from engine.training.rollout.part_scoring import PartScoring
from engine.training.rollout.reward_calls import RewardFunc, check_batch, check_whole_groups, name_of
from engine.training.rollout.rollouts import Rollouts, generate_rollouts
from engine.training.trainers.base import COPY_FILE
from engine.training.trainers.clip_data import SIZES, readable
from engine.training.trainers.generation_batches import GenerationBatches
from engine.training.weights import WeightCopy
from engine.workspace import Workspace

log = logging.getLogger(__name__)

AHEAD = "ahead"
"""Name of the copy of the weights that makes the next generation batch, one step off."""
NUM_COMPARED_CLIPS = 4
"""Number of clips of a generation batch on which the distance to a few-step student is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutBatch:
    """Rows of one training step: `index` into this process's rollouts.

    `group_advantages` are those of all processes' rollouts, of which this process's begin at `offset`.
    """

    index: list[int]
    rollouts: Rollouts
    group_advantages: Advantages
    offset: int = 0

    @property
    def advantages(self) -> Tensor:
        return self.group_advantages.values[self.offset :][self.index]

    @property
    def requests(self) -> list[GenerationRequest]:
        return [self.rollouts.requests[row] for row in self.index]

    @property
    def prompts(self) -> list[str]:
        return [request.prompt for request in self.requests]


class RolloutBackend(Protocol):
    """Interface for making a trainer's rollouts elsewhere, see `engine.training.rollout.rollout_actors`."""

    def generate(
        self, trainer: "OnlineTrainer", requests: Sequence[GenerationRequest], rows: Sequence[Mapping[str, Any]]
    ) -> Rollouts: ...

    def generate_ahead(
        self, trainer: "OnlineTrainer", requests: Sequence[GenerationRequest], rows: Sequence[Mapping[str, Any]]
    ) -> Rollouts: ...


class OnlineTrainer(GenerationBatches):
    """Base of online trainers.

    A subclass implements `losses` and may override `sde_step_function` and `sde_steps`.

    `train_dataset` holds rows with a `prompt` (or plain texts); other columns are passed to the reward functions.
    With the setting `data`, each update also has the loss of pre-training on given clips, as in data-regularised RL
    (DDRL, arXiv:2512.04332).
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
        check_batch(rows, self.reward_funcs, args)
        self.data, stored = _given_clips(args, others.get("workspace") or Workspace.from_env())
        weights = args.reward_weights or [1.0] * len(self.reward_funcs)
        self.reward_weights = torch.tensor(weights, dtype=torch.float32)
        self.buffer: list[RolloutBatch] = []
        self.actors: RolloutBackend | None = None
        self._followed_at = -1
        super().__init__(model, args, rows, **others)
        self.prompts.leaves_out_padding = True
        check_pictures(numbered(self.data), self.template, self.family.spec)
        self.open_clips({name: getattr(self.template, name) for name in SIZES})
        self.data_sizes = self.clip_latents.sizes(self.data, stored)
        if world_size() > 1:
            share = args.per_device_train_batch_size * args.steps_per_generation
            check_whole_groups(self.reward_funcs, share, args.num_generations)

    # ------------------------------------------------------------------------------------------------- given clips

    def parts(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        yield from self.losses(inputs)
        if self.data:
            yield self.args.data_weight * self.data_loss(self.data_rows(len(inputs.index)))

    def data_loss(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return the mean squared error of the network's output on noisy given clips, and log it."""
        loss = self.clip_errors(rows, self.requests_of(rows))().mean()
        self.log_metric(**{"error/data": loss})
        return loss

    def data_rows(self, count: int) -> list[Mapping[str, Any]]:
        """Return `count` rows of `data` of one size; each pass has its own order.

        They depend on the seed and on the number of updates alone, so that a resumed run continues with the next ones.
        """
        batch = self.state.global_step * self._accumulation + self.micro_step
        first = (batch * world_size() + rank()) * count
        sampler = OneSizeSampler(self.data_sizes, count * world_size(), self.args.seed)
        return [self.data[row] for row in islice(sampler.endless(first), count)]

    # -------------------------------------------------------------------------------------------- generation batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        self.check_actors()
        return super().get_train_dataloader()

    def check_actors(self) -> None:
        """Raise ConfigError when the settings need actors and there are none."""
        if self.args.one_step_off and self.actors is None:
            raise ConfigError(
                "one_step_off = True needs actors, which make the next clips during the update: start the run with "
                "--actors, or leave the setting out."
            )

    def _prepare_inputs(self, inputs: Any) -> RolloutBatch:
        position = self._position % self._batches_per_generation
        if position == 0 or not self.buffer:
            self.buffer = []  # before the next clips are made: both at once would take twice the memory
            self.buffer = self._generate_and_score(inputs)
        return self.buffer[position % self.args.steps_per_generation]

    # ---------------------------------------------------------------------------------------------------- one rollout

    def sde_step_function(self) -> StepFunction | None:
        """Return the step function of the SDE steps; None: the same as of the others."""
        return None

    def sde_steps(self, requests: Sequence[GenerationRequest]) -> list[tuple[int, ...]]:
        """Return the numbers of the steps of each request that are random and kept, as many for each."""
        return [()] * len(requests)

    @property
    def clips_together(self) -> int:
        """Number of consecutive clips, of one group, that stay together in a batch."""
        return 1

    @property
    def keeps_means(self) -> bool:
        """Return True when the update needs the means of the rollouts' SDE steps."""
        return False

    def noise_levels(self) -> list[float]:
        """Return the noise levels of the rollouts' schedule, one more than there are steps."""
        request = self.template
        if self.train_dataset:  # all rows have the same pictures or none
            request = request.model_copy(update=request_fields(self.train_dataset[0]))
        latents = self.family.init_latents(request, [generator_for(0)])
        tokens = num_tokens(latents, self.prompts.of([request]).extras if request.image else None)
        levels: list[float] = sigmas_for(self.family.scheduler_config, self.template.num_steps, tokens).tolist()
        return levels

    def first_generation_batch(self) -> list[RolloutBatch]:
        """Make the first generation batch as training would, in the data set's order, without an update."""
        size = self.args.num_generations
        prompts = self.args.generation_batch_size // size
        rows = [row for row in self.train_dataset[:prompts] for _ in range(size)]
        return self._generate_and_score(rows[local_slice(len(rows) // world_size())])

    def _generate_and_score(self, rows: Sequence[Mapping[str, Any]]) -> list[RolloutBatch]:
        began = time.perf_counter()
        with self._scoring(rows) as scoring:
            requests = self.requests_for(rows, self.iteration)
            if self.actors is not None and AHEAD in self.copies and self.is_in_train:
                rollouts = self.actors.generate_ahead(self, requests, rows)
            else:
                self.follow()
                rollouts = self._generate_rollouts(requests, scoring)
            rolled_out = time.perf_counter()
            own = self._rewards(scoring, rollouts)
        rewards = all_gather_rows(own)  # a group may lie in two processes
        self.log_metric(
            time__rollout=rolled_out - began - rollouts.decode_s,
            time__decode=rollouts.decode_s,
            time__score=time.perf_counter() - rolled_out,
        )
        group_advantages = advantages(
            rewards,
            self.args.num_generations,
            weights=self.reward_weights,
            scale=self.args.advantage_scale,
            aggregation=self.args.multi_objective_aggregation,
            floor=self.args.advantage_floor,
            limit=self.args.advantage_limit,
        )
        self._log_rewards(rewards, group_advantages)
        if self.is_few_step:
            few = rollouts.requests[:NUM_COMPARED_CLIPS]
            distance = drift_of(self, rollouts.latents[: len(few)], few, self.noise_levels()[:-1])
            self.log_metric(student__distance=distance)
        size = self.args.per_device_train_batch_size
        together = self.clips_together
        units = torch.randperm(
            len(rows) // together, generator=torch.Generator().manual_seed(self._seed(self.iteration, "order"))
        )
        order = (units[:, None] * together + torch.arange(together)).flatten().tolist()
        return [
            RolloutBatch(
                index=order[start : start + size],
                rollouts=rollouts,
                group_advantages=group_advantages,
                offset=rank() * len(rows),
            )
            for start in range(0, len(order), size)
        ]

    def follow(self) -> None:
        """Move the copies of the weights that follow the policy, before a generation batch is learnt from.

        One step off, the batch was made by `AHEAD`, which becomes the old policy and moves on to make the next one.
        """
        ahead, old = self.copies.get(AHEAD), self.copies.get("old")
        if ahead is not None and old is not None:
            old.set(ahead)
        if self.state.global_step != self._followed_at:
            self._followed_at = self.state.global_step
            self.update_copies(ahead or old)

    def update_copies(self, maker: WeightCopy | None) -> None:
        """Move the copies towards the current weights; `maker` makes the next rollouts."""
        if maker is not None:
            maker.copy_from_network()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load a checkpoint; one that was written without actors lacks `AHEAD`, which then is the old policy."""
        ahead = self.copies.pop(AHEAD, None)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if ahead is None:
            return
        self.copies[AHEAD] = ahead
        file = Path(resume_from_checkpoint) / COPY_FILE.format(AHEAD)
        if file.is_file():
            fill(ahead.values, read_tensors(file))
        elif "old" in self.copies:
            ahead.set(self.copies["old"])
        else:
            ahead.copy_from_network()

    def _generate_rollouts(self, requests: list[GenerationRequest], scoring: PartScoring) -> Rollouts:
        """Generate the clips of the requests; `scoring` gets those of each part, unless actors score them."""
        if self.actors is not None:
            return self.actors.generate(self, requests, scoring.rows)
        return generate_rollouts(
            self.family,
            requests,
            self.prompts,
            sde_step_function=self.sde_step_function(),
            kept=self.sde_steps(requests),
            means=self.keeps_means,
            batch=self.args.rollout_batch,
            decoded=scoring.add,
        )

    def requests_for(self, rows: Sequence[Mapping[str, Any]], iteration: int) -> list[GenerationRequest]:
        """Return a request for each row; consecutive equal rows, over all processes, form one group."""
        size, first = self.args.num_generations, rank() * len(rows)
        return [
            self.template.model_copy(
                update={**request_fields(row), "seed": self._seed(iteration, str(row["prompt"]), position % size)}
            )
            for position, row in enumerate(rows, start=first)
        ]

    def _seed(self, iteration: int, prompt: str, sample: int = 0) -> int:
        return seed_for(self.args.seed, step=iteration, prompt=prompt, sample=sample)

    def _scoring(self, rows: Sequence[Mapping[str, Any]]) -> PartScoring:
        return PartScoring(
            self.reward_funcs,
            rows,
            group=self.args.num_generations,
            device=self.args.device,
            trainer_state=self.state,
        )

    def _rewards(self, scoring: PartScoring, rollouts: Rollouts) -> Tensor:
        """Return the rewards `float32[N,R]` of this process's clips, and log what the functions logged."""
        if rollouts.rewards is not None:
            return rollouts.rewards
        rewards = scoring.rewards(rollouts.clips)
        for column, values in scoring.columns.items():
            self._log_extra(column, values)
        for name, value in scoring.metrics:
            self.log_metric(**{name: value})
        return rewards

    def _log_extra(self, column: str, values: Sequence[Any]) -> None:
        """TRL's `log_extra`: numbers become the metric `extra/COLUMN` (mean), other values are logged."""
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if numbers:
            self.log_metric(**{f"extra/{column}": sum(numbers) / len(numbers)})
        else:
            log.info("step %d, %s: %s", self.state.global_step, column, list(values))

    def _log_rewards(self, rewards: Tensor, group_advantages: Advantages) -> None:
        """Log reward metrics under TRL's names; a reward that applied to no clip has no mean."""
        for column, function in enumerate(self.reward_funcs):
            known = rewards[:, column][~rewards[:, column].isnan()]
            if len(known):
                self.log_metric(**{f"rewards/{name_of(function)}/mean": known.mean()})
                self.log_metric(**{f"rewards/{name_of(function)}/std": known.std(correction=0)})
        scored = group_advantages.rewards[~group_advantages.unscored]
        if len(scored):
            self.log_metric(reward=scored.mean(), reward_std=scored.std(correction=0))
        self.log_metric(frac_reward_zero_std=group_advantages.dead.float().mean())

    def losses(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        raise NotImplementedError


def _given_clips(args: Any, workspace: Workspace) -> tuple[Any, dict[str, Stored]]:
    """Return the rows of the setting `data` and the facts of their clips."""
    if args.data is None:
        return [], {}
    rows = read_captioned(Path(args.data))
    check_prompts(rows)
    return readable(with_stored_pictures(rows, workspace), False, args.skip_damaged)
