"""`VideoDPOTrainer`: Diffusion-DPO and Flow-DPO on pairs of clips. The loss is `engine.algorithms.dpo`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import dpo
from engine.errors import ConfigError
from engine.model_spec import Conditioning, ModelFamily, Prediction
from engine.sampling.forward_process import add_noise, training_target
from engine.seeds import generator_for, seed_for, unit_noise
from engine.training.data.pair_latents import PairLatentCache, readable_rows
from engine.training.distributed.process_group import local_slice, on_rank_zero, world_size
from engine.training.rollout.noise_levels import NoiseLevelDistribution, draw_levels
from engine.training.trainer_settings import VideoDPOConfig
from engine.training.trainers.base import DiffusionTrainer

LEVELS: dict[Prediction, NoiseLevelDistribution] = {
    "flow": "logit_normal",
    "epsilon": "uniform",
    "v_prediction": "uniform",
}
SIZES = ("num_frames", "width", "height")


def _readable(rows: Any, args: VideoDPOConfig) -> Any:
    """The rows whose clips can be decoded to their end, which the first process finds out for all.

    A damaged clip would otherwise end the run at the update that meets it, at every resume.
    """
    if args.preference is None:
        chosen = [{name: value for name, value in dict(row).items() if name != "rejected"} for row in rows]
        return on_rank_zero(lambda: readable_rows(chosen, skip=args.skip_damaged))
    left = on_rank_zero(lambda: readable_rows([dict(row) for row in rows], skip=args.skip_damaged))
    return rows if len(left) == len(rows) else left


class VideoDPOTrainer(DiffusionTrainer):
    """`trl.DPOTrainer`'s call for video: rows of `train_dataset` have prompt, chosen, rejected (see `pairs`).

    `ref_model` exists for the call's sake: the reference is always the model before training, which costs a copy of the
    adapter where it begins with one, and else nothing.
    Metrics under TRL's names: rewards/chosen, rewards/rejected, rewards/margins, rewards/accuracies.
    """

    args: VideoDPOConfig

    def __init__(
        self,
        model: ModelFamily | str,
        ref_model: None = None,
        args: VideoDPOConfig | None = None,
        train_dataset: Sequence[Mapping[str, Any]] | Any = None,
        **others: Any,
    ) -> None:
        if ref_model is not None:
            raise ConfigError("A ref_model of its own is not supported: leave it out, the model before training is it.")
        if train_dataset is None or not len(train_dataset):
            raise ConfigError("DPO needs pairs, but the data set is empty: collect votes, or make pairs by reward.")
        args = args or VideoDPOConfig()
        rows = _readable(train_dataset, args)
        super().__init__(model, args, rows, **others)
        asked = self.args.request_fields()
        sizes = {name: asked[name] for name in SIZES if name in asked}
        self.pairs = PairLatentCache(self.family, sizes, fps=self.template.fps)

    def losses(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """One part a batch: chosen and rejected go through the network together, with one noise and level a pair."""
        if self.args.preference is None:
            yield self._chosen_loss(inputs)
            return
        chosen, rejected = self.pairs.latents(inputs)
        conditioning = self.prompts.rows([str(row["prompt"]) for row in inputs])
        noisy, target, sigma = self._noisy_pairs(chosen, rejected)
        both = conditioning.concat(conditioning)
        with self.reference.applied():
            ref_chosen, ref_rejected = self._errors(noisy, target, sigma, both)
        policy_chosen, policy_rejected = self._errors(noisy, target, sigma, both)
        found = dpo.preference(
            dpo.PairErrors(
                chosen=policy_chosen, rejected=policy_rejected, ref_chosen=ref_chosen, ref_rejected=ref_rejected
            ),
            beta=self.args.beta,
            error_scale=self.error_scale,
            loss=self.args.preference,
            label_smoothing=self.args.label_smoothing,
        )
        self._log_preference(found, policy_chosen, policy_rejected, ref_chosen, ref_rejected)
        loss = self.args.weight_of(self.args.preference) * found.loss * self._weights(inputs)
        if self.args.weight_of("sft") > 0:
            loss = loss + self.args.weight_of("sft") * self._likelihood(policy_chosen)
        yield loss.mean()

    def _chosen_loss(self, inputs: Sequence[Mapping[str, Any]]) -> Tensor:
        """The loss "sft" alone: neither reference nor rejected clip is looked at."""
        clean = self.pairs.chosen(inputs)
        noise, sigma = self._draw(clean)
        kind: Prediction = self.family.spec.prediction
        noisy, target = add_noise(kind, clean, noise, sigma), training_target(kind, clean, noise, sigma)
        prediction = self.family.predict(noisy, sigma, self.prompts.rows(self._prompts_after_dropout(inputs)))
        errors = dpo.prediction_error(prediction, target)
        self.log_metric(**{"error/chosen": errors.detach()})
        return self.args.weight_of("sft") * self._likelihood(errors).mean()

    @property
    def error_scale(self) -> float:
        """S of the loss, for what this network predicts."""
        return self.args.scale_of(self.family.spec.prediction)

    @property
    def beta_eff(self) -> float:
        """Beta in the papers' units."""
        return self.args.beta_eff(self.family.spec.prediction)

    def _likelihood(self, errors: Tensor) -> Tensor:
        return dpo.likelihood_loss(errors, beta=self.args.beta, error_scale=self.error_scale)

    def _prompts_after_dropout(self, inputs: Sequence[Mapping[str, Any]]) -> list[str]:
        """The rows' prompts, a share of them left out: guidance needs a model that also knows the empty one."""
        seed = seed_for(self.args.seed, step=self.state.global_step, sample=self.micro_step, prompt="dropout")
        left_out = torch.rand(world_size() * len(inputs), generator=generator_for(seed)) < self.args.prompt_dropout
        rows = zip(inputs, left_out[local_slice(len(inputs))], strict=True)
        return ["" if dropped else str(row["prompt"]) for row, dropped in rows]

    def error_gaps(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """`[B]`: how much worse the model denoises the chosen clips than the rejected, at a drawn level each."""
        chosen, rejected = self.pairs.latents(rows)
        conditioning = self.prompts.rows([str(row["prompt"]) for row in rows])
        noisy, target, sigma = self._noisy_pairs(chosen, rejected)
        of_chosen, of_rejected = self._errors(noisy, target, sigma, conditioning.concat(conditioning))
        return of_chosen - of_rejected

    def _noisy_pairs(self, chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents and targets of both, chosen first, under one noise and level `sigma[B]` a pair."""
        noise, sigma = self._draw(chosen)
        kind: Prediction = self.family.spec.prediction
        clean, noises, levels = torch.cat([chosen, rejected]), torch.cat([noise, noise]), torch.cat([sigma, sigma])
        return add_noise(kind, clean, noises, levels), training_target(kind, clean, noises, levels), sigma

    def _errors(
        self, noisy: Tensor, target: Tensor, sigma: Tensor, conditioning: Conditioning
    ) -> tuple[Tensor, Tensor]:
        prediction = self.family.predict(noisy, torch.cat([sigma, sigma]), conditioning)
        chosen, rejected = dpo.prediction_error(prediction, target).chunk(2)
        return chosen, rejected

    def _draw(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Noise and level of each pair, named by the run's seed, the step, the batch within it and the pair's place."""
        seed = seed_for(self.args.seed, step=self.state.global_step, sample=self.micro_step)
        rows = range(world_size() * len(chosen))
        generators = [generator_for(seed_for(seed, sample=row)) for row in rows[local_slice(len(chosen))]]
        noise = unit_noise(chosen.shape[1:], generators).to(chosen)
        spread = LEVELS[self.family.spec.prediction]
        tokens = chosen.shape[2:].numel()
        sigma = draw_levels(self.family.scheduler_config, len(rows), tokens, generator_for(seed), spread)
        return noise, sigma[self.local_level_slice(len(chosen))].to(chosen)

    def _weights(self, inputs: Sequence[Mapping[str, Any]]) -> Tensor:
        """VideoDPO's weight by a pair's `score`; 1 where a pair has none."""
        gaps = torch.tensor([float(row.get("score") or dpo.TYPICAL_GAP) for row in inputs], device=self.args.device)
        return dpo.pair_weight(gaps, power=self.args.pair_weight_power)

    def _log_preference(self, found: dpo.Preference, *errors: Tensor) -> None:
        names = ("error/chosen", "error/rejected", "error/ref_chosen", "error/ref_rejected")
        self.log_metric(
            beta_eff=self.beta_eff,
            **{
                "rewards/chosen": found.chosen_rewards,
                "rewards/rejected": found.rejected_rewards,
                "rewards/margins": found.margins,
                "rewards/accuracies": found.accuracies,
                **dict(zip(names, errors, strict=True)),
            },
        )
