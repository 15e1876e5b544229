"""Samples while a run trains: clips of fixed prompts and seeds, by the base model and by each checkpoint's weights.

They drain the same generation as rollouts do and touch nothing that training uses: their noise has seeds of its own.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from engine.config.schema import TrainPreset
from engine.errors import StoreError
from engine.model_spec import ModelFamily
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.seeds import seed_for
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.distributed.process_group import broadcast_object, is_first, on_rank_zero
from engine.training.evaluation.sample_scores import SampleScores
from engine.training.rollout.rollouts import generate_rollouts
from rewards import Clip

if TYPE_CHECKING:
    from engine.training.trainers.base import DiffusionTrainer

log = logging.getLogger(__name__)


def sample_requests(
    template: GenerationRequest, prompts: Sequence[str], *, seed: int, num_clips: int, num_steps: int | None = None
) -> tuple[GenerationRequest, ...]:
    """`num_clips` requests spread evenly over the prompts, with seeds that no rollout has; more clips than prompts go
    round them again."""
    known = list(dict.fromkeys(prompts))
    spread = max(1, len(known) // max(1, num_clips))
    chosen = [(known[index * spread % len(known)], index // len(known)) for index in range(num_clips)] if known else []
    changes = {"num_steps": num_steps} if num_steps else {}
    return tuple(
        template.model_copy(
            update={"prompt": prompt, "seed": seed_for(seed, prompt=f"sample of {prompt}", sample=turn), **changes}
        )
        for prompt, turn in chosen
    )


class SampleSets:
    """Makes, scores and keeps the sample sets of one run."""

    def __init__(self, run: Run, requests: Sequence[GenerationRequest], preset: TrainPreset, batch: int = 4) -> None:
        self.kept = RunSamples(run)
        self._requests, self._batch = list(requests), batch
        self._scores = SampleScores(preset)

    def make(self, family: ModelFamily, prompts: PromptEmbeddings) -> list[Clip]:
        """The clips by the weights that the family has now."""
        return generate_rollouts(family, self._requests, prompts, batch=self._batch).clips

    def keep(self, step: int | None, clips: Sequence[Clip]) -> dict[str, float]:
        """Score and write them; what was measured of them, see `SampleScores.means`."""
        reports = self._scores.reports(clips)
        stored: list[Any] = [report.to_dict() for report in reports] or [None] * len(clips)
        self.kept.save(step, clips, [request.seed for request in self._requests], stored)
        return self._scores.means(reports)


class SampleCallback(TrainerCallback):
    """Makes a set for the base model as training begins, after each checkpoint (or every `sample_every` steps), and
    when the run's folder asks for one.

    With several processes each of them generates, since sharded weights need all; the first one keeps the clips. While
    `stopping` says so nothing is made: the process is to end. What is missing then is made when the run goes on.
    """

    def __init__(
        self, trainer: "DiffusionTrainer", run: Run, preset: TrainPreset, stopping: Callable[[], bool]
    ) -> None:
        args = trainer.args
        prompts = [str(row["prompt"]) for row in trainer.train_dataset or ()]
        self._trainer, self._run, self._hurried = trainer, run, stopping
        kept = on_rank_zero(lambda: _kept_requests(RunSamples(run)))
        requests = kept or sample_requests(
            trainer.template, prompts, seed=args.seed, num_clips=args.sample_clips, num_steps=args.sample_steps
        )
        self._sampling = SampleSets(run, requests, preset, batch=getattr(args, "rollout_batch", 4))
        if requests and not kept and is_first():
            self._sampling.kept.keep_requests(requests)
        self._active = bool(requests)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._active and self._lacks(None):
            self._sample(None, state, self._trainer.base.applied())
        if self._active and state.global_step and self._lacks(state.global_step):
            self._sample(state.global_step, state, self._exported())

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._active and not args.sample_every and not self._hurried():
            self._sample(state.global_step, state, self._exported())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self._active or self._hurried():
            return
        due = bool(args.sample_every) and state.global_step % args.sample_every == 0
        if broadcast_object(due or (is_first() and self._sampling.kept.take_request())):
            self._sample(state.global_step, state, self._exported())

    def _lacks(self, step: int | None) -> bool:
        return broadcast_object(not self._sampling.kept.has(step))

    def _exported(self) -> AbstractContextManager[None]:
        """The weights that would be exported now: the average, where the run keeps one."""
        copies = self._trainer.copies
        return copies["average"].applied() if "average" in copies else nullcontext()

    def _sample(self, step: int | None, state: Any, weights: AbstractContextManager[None]) -> None:
        trainer = self._trainer
        with weights, preserve_training_state(trainer.family.network):
            clips = self._sampling.make(trainer.family, trainer.prompts)
        if state.is_world_process_zero:
            found = self._sampling.keep(step, clips)
            if step is not None:
                self._run.append_metrics(step, found)
            log.info("samples at %s: %s", "the base" if step is None else f"step {step}", found)


def _kept_requests(kept: RunSamples) -> tuple[GenerationRequest, ...]:
    """What was sampled before; nothing, where that is damaged, which is then put aside."""
    try:
        return kept.requests()
    except StoreError:
        kept.set_requests_aside()
        return ()


@contextmanager
def preserve_training_state(network: Any) -> Iterator[None]:
    """No gradients, the network in evaluation mode, and the global random state as it was before."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            yield
    finally:
        network.train(training)
