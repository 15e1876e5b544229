"""`VideoDPOTrainer`: Diffusion-DPO and Flow-DPO on pairs of clips (loss: `engine.algorithms.dpo`)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import dpo
from engine.errors import ConfigError
from engine.family_interface import Conditioning, ModelFamily, Prediction
from engine.sampling.forward_process import add_noise, training_target
from engine.training.trainer_settings import VideoDPOConfig
from engine.training.trainers.clip_data import ClipDataTrainer


class VideoDPOTrainer(ClipDataTrainer):
    """DPO trainer with the interface of `trl.DPOTrainer`.

    Rows of `train_dataset` have prompt, chosen and rejected (see `clip_latents`). `ref_model` must be None: the
    reference is always the model before training, which costs a copy of the initial adapter, if there is one.
    Metrics have TRL's names: rewards/chosen, rewards/rejected, rewards/margins, rewards/accuracies.
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
        super().__init__(model, args, train_dataset, paired=args.preference is not None, **others)

    def losses(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """Yield one part: chosen and rejected share a forward pass, and each pair one noise and noise level."""
        if self.args.preference is None:
            yield self._chosen_loss(inputs)
            return
        chosen, rejected = self.clip_latents.latents(inputs)
        conditioning = self.prompts.of(self.requests_of(inputs))
        noisy, target, sigma = self._noisy_pairs(chosen, rejected)
        both = conditioning.concat(conditioning)
        with self.reference.applied():
            ref_chosen, ref_rejected = self._errors(noisy, target, sigma, both)
        policy_chosen, policy_rejected = self._errors(noisy, target, sigma, both)
        preference = dpo.preference(
            dpo.PairErrors(
                chosen=policy_chosen, rejected=policy_rejected, ref_chosen=ref_chosen, ref_rejected=ref_rejected
            ),
            beta=self.args.beta,
            error_scale=self.error_scale,
            loss=self.args.preference,
            label_smoothing=self.args.label_smoothing,
            offset=self._offsets(inputs),
        )
        self._log_preference(preference, policy_chosen, policy_rejected, ref_chosen, ref_rejected)
        loss = self.args.weight_of(self.args.preference) * preference.loss * self._weights(inputs)
        if self.args.weight_of("sft") > 0:
            loss = loss + self.args.weight_of("sft") * self._likelihood(policy_chosen)
        yield loss.mean()

    def _chosen_loss(self, inputs: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return the loss "sft", which uses neither the reference nor the rejected clip."""
        errors = self.clip_errors(inputs, self.requests_after_dropout(inputs))()
        self.log_metric(**{"error/chosen": errors.detach()})
        return self.args.weight_of("sft") * self._likelihood(errors).mean()

    @property
    def error_scale(self) -> float:
        """Scale S of the loss for this network's prediction type."""
        return self.args.scale_of(self.family.spec.prediction)

    @property
    def beta_eff(self) -> float:
        """Beta in the papers' units."""
        return self.args.beta_eff(self.family.spec.prediction)

    def _likelihood(self, errors: Tensor) -> Tensor:
        return dpo.likelihood_loss(errors, beta=self.args.beta, error_scale=self.error_scale)

    def error_gaps(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return `[B]`: error on the chosen minus error on the rejected clip, at a random noise level each."""
        chosen, rejected = self.clip_latents.latents(rows)
        conditioning = self.prompts.of(self.requests_of(rows))
        noisy, target, sigma = self._noisy_pairs(chosen, rejected)
        of_chosen, of_rejected = self._errors(noisy, target, sigma, conditioning.concat(conditioning))
        return of_chosen - of_rejected

    def _noisy_pairs(self, chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy latents and targets, chosen first, with one noise and level `sigma[B]` a pair."""
        noise, sigma = self.draw_noise(chosen)
        kind: Prediction = self.family.spec.prediction
        clean, noises, levels = torch.cat([chosen, rejected]), torch.cat([noise, noise]), torch.cat([sigma, sigma])
        return add_noise(kind, clean, noises, levels), training_target(kind, clean, noises, levels), sigma

    def _errors(
        self, noisy: Tensor, target: Tensor, sigma: Tensor, conditioning: Conditioning
    ) -> tuple[Tensor, Tensor]:
        prediction = self.family.predict(noisy, torch.cat([sigma, sigma]), conditioning)
        errors = dpo.prediction_error(conditioning.free(prediction), conditioning.free(target))
        chosen, rejected = errors.chunk(2)
        return chosen, rejected

    def _offsets(self, inputs: Sequence[Mapping[str, Any]]) -> Tensor | None:
        """Return the offsets from the pairs' `margin`; 1, a unanimous pair, for a pair without one."""
        if self.args.margin_scale == 0:
            return None
        margins = [1.0 if (margin := row.get("margin")) is None else float(margin) for row in inputs]
        return self.args.margin_scale * torch.tensor(margins, device=self.args.device)

    def _weights(self, inputs: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return VideoDPO's weights from the pairs' `score`; 1 for a pair without one."""
        gaps = torch.tensor([float(row.get("score") or dpo.TYPICAL_GAP) for row in inputs], device=self.args.device)
        return dpo.pair_weight(gaps, power=self.args.pair_weight_power)

    def _log_preference(self, preference: dpo.Preference, *errors: Tensor) -> None:
        names = ("error/chosen", "error/rejected", "error/ref_chosen", "error/ref_rejected")
        self.log_metric(
            beta_eff=self.beta_eff,
            **{
                "rewards/chosen": preference.chosen_rewards,
                "rewards/rejected": preference.rejected_rewards,
                "rewards/margins": preference.margins,
                "rewards/accuracies": preference.accuracies,
                **dict(zip(names, errors, strict=True)),
            },
        )
