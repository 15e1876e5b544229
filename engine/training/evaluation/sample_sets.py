"""Samples during training: clips of fixed prompts and seeds, by the base model and each checkpoint.

They use the same generation code as rollouts and do not affect training: their noise has separate seeds.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from engine.config.schema import TrainPreset
from engine.errors import StoreError
from engine.family_interface import ModelFamily
from engine.generation.pipeline import clips_together
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.seeds import seed_for
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.data.prompt_rows import request_fields
from engine.training.distributed.process_group import broadcast_object, is_first, on_rank_zero
from engine.training.evaluation.sample_scores import SampleScores
from engine.training.rollout.drift import inference_batch_size
from engine.training.rollout.rollouts import generate_rollouts
from rewards import Clip

if TYPE_CHECKING:
    from engine.training.trainers.base import DiffusionTrainer

log = logging.getLogger(__name__)
NO_CHANGES: Mapping[str, Any] = {}


def sample_requests(
    template: GenerationRequest,
    rows: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    num_clips: int,
    num_steps: int | None = None,
) -> tuple[GenerationRequest, ...]:
    """Return `num_clips` requests spread evenly over the rows of data, with seeds that no rollout uses.

    With more clips than rows, rows are repeated with other seeds.
    """
    known = [dict(fields) for fields in dict.fromkeys(tuple(request_fields(row).items()) for row in rows)]
    spread = max(1, len(known) // max(1, num_clips))
    chosen = [(known[index * spread % len(known)], index // len(known)) for index in range(num_clips)] if known else []
    changes = {"num_steps": num_steps} if num_steps else {}
    return tuple(
        template.model_copy(
            update={**fields, "seed": seed_for(seed, prompt=f"sample of {fields['prompt']}", sample=turn), **changes}
        )
        for fields, turn in chosen
    )


class SampleSets:
    """Generate, score and store the sample sets of one run, `batch` clips at a time.

    With `batch` 0, as many clips at a time as in Generate.
    """

    def __init__(self, run: Run, requests: Sequence[GenerationRequest], preset: TrainPreset, batch: int = 0) -> None:
        self.kept = RunSamples(run)
        self._requests, self._batch = list(requests), batch or min(map(clips_together, requests), default=1)
        self._scores = SampleScores(preset)

    def make(
        self, family: ModelFamily, prompts: PromptEmbeddings, changes: Mapping[str, Any] = NO_CHANGES
    ) -> list[Clip]:
        """Generate the clips with the family's current weights, and with `changes` of the requests."""
        requests = [request.model_copy(update=changes) for request in self._requests]
        return generate_rollouts(family, requests, prompts, batch=self._batch).clips

    def keep(self, step: int | None, clips: Sequence[Clip]) -> dict[str, float]:
        """Score and store the clips; return their metrics, see `SampleScores.means`."""
        reports = self._scores.reports(clips)
        stored: list[Any] = [report.to_dict() for report in reports] or [None] * len(clips)
        self.kept.save(step, clips, [request.seed for request in self._requests], stored)
        return self._scores.means(reports)


class SampleCallback(TrainerCallback):
    """Make a sample set of the base model at the start, after each checkpoint, and on request.

    For a student of a few steps, the base is its teacher, with its own steps; for RL on a student, that student. With
    `sample_every`, sets are made every so many steps instead of at checkpoints. All processes generate, since sharded
    weights require it; the first one stores the clips. While `stopping()` is true no set is made, because the process
    must end; a missing set is made when the run resumes.
    """

    def __init__(
        self, trainer: "DiffusionTrainer", run: Run, preset: TrainPreset, stopping: Callable[[], bool]
    ) -> None:
        args = trainer.args
        rows = list(trainer.train_dataset or ())
        self._trainer, self._run, self._hurried = trainer, run, stopping
        kept = on_rank_zero(lambda: _kept_requests(RunSamples(run)))
        requests = kept or sample_requests(
            trainer.template, rows, seed=args.seed, num_clips=args.sample_clips, num_steps=args.sample_steps
        )
        self._sampling = SampleSets(run, requests, preset, batch=inference_batch_size(trainer))
        if requests and not kept and is_first():
            self._sampling.kept.keep_requests(requests)
        self._active = bool(requests)
        steps = {"num_steps": args.sample_steps} if args.sample_steps else {}
        self._before = {**trainer.baseline_fields, **steps}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._active and self._lacks(None):
            trainer = self._trainer
            is_start = trainer.args.learns_from_start or trainer.is_few_step
            self._sample(None, state, (trainer.reference if is_start else trainer.base).applied())
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
        """Activate the weights that an export would write: the average, if there is one."""
        copies = self._trainer.copies
        return copies["average"].applied() if "average" in copies else nullcontext()

    def _sample(self, step: int | None, state: Any, weights: AbstractContextManager[None]) -> None:
        trainer = self._trainer
        with weights, preserve_training_state(trainer.family.network):
            clips = self._sampling.make(
                trainer.family, trainer.prompts, NO_CHANGES if step is not None else self._before
            )
        if state.is_world_process_zero:
            found = self._sampling.keep(step, clips)
            if step is not None:
                self._run.append_metrics(step, found)
            log.info("samples at %s: %s", "the base" if step is None else f"step {step}", found)


def _kept_requests(kept: RunSamples) -> tuple[GenerationRequest, ...]:
    """Return the stored requests; a damaged file is set aside and counts as empty."""
    try:
        return kept.requests()
    except StoreError:
        kept.set_requests_aside()
        return ()


@contextmanager
def preserve_training_state(network: Any) -> Iterator[None]:
    """Disable gradients, use evaluation mode, and restore the network's mode and the global random state."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            yield
    finally:
        network.train(training)
