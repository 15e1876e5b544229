"""Constrained predictions: fixed frames, frames guided towards a target, overlapping windows.

Each constraint is a `Predictor` around another, so that the single loop over noise levels needs no special cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.family_interface import Conditioning, FamilySpec, Predictor
from engine.sampling.forward_process import add_noise, predict_x0_and_noise, training_target

GUIDE_UNTIL = 0.4  # the noise level at which guidance towards the target ends


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedFrames:
    """Inpainting: the result equals `clean[B,C,t,h,w]` exactly at the latent frames with `held[t]`.

    A family with a noise level for each frame (`native`) gets these frames clean, at level 0. Any other gets them at
    the level of the rest, with the same `noise[B,C,t,h,w]` at each step.
    """

    family: Predictor
    clean: Tensor
    held: Tensor
    noise: Tensor
    native: bool

    @property
    def spec(self) -> FamilySpec:
        return self.family.spec

    def predict(self, latents: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        level, prediction_type = float(sigma[0]), self.spec.prediction
        clean, noise = (_repeat_rows(tensor, len(latents)) for tensor in (self.clean, self.noise))
        fixed = clean if self.native else add_noise(prediction_type, clean, noise, level)
        is_fixed = self.held.to(latents.device)[None, None, :, None, None]
        inputs = torch.where(is_fixed, fixed.to(latents), latents)
        levels = torch.where(self.held.to(sigma.device), 0.0, sigma[:, None]) if self.native else sigma
        free = self.family.predict(inputs, levels, conditioning)
        return torch.where(is_fixed, prediction_for_clean(clean, latents, level, self.spec), free)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedFrames:
    """Guidance of the predicted clean latents towards `target[B,C,t,h,w]`.

    The weight falls linearly from `strength` (0..1) at the highest noise level to 0 at GUIDE_UNTIL, and is multiplied
    by `trust[B,1,t,h,w]` (0..1).
    """

    family: Predictor
    target: Tensor
    trust: Tensor
    strength: float

    @property
    def spec(self) -> FamilySpec:
        return self.family.spec

    def predict(self, latents: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        prediction = self.family.predict(latents, sigma, conditioning)
        level = float(sigma.max())
        weight = self.strength * max(0.0, (level - GUIDE_UNTIL) / (1 - GUIDE_UNTIL))
        if weight == 0:
            return prediction
        clean, _ = predict_x0_and_noise(self.spec.prediction, prediction, latents, level)
        target, trust = (_repeat_rows(tensor, len(latents)).to(clean) for tensor in (self.target, self.trust))
        return prediction_for_clean(clean + weight * trust * (target - clean), latents, level, self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlappingWindows:
    """Predictions for a clip longer than the network's context, in `[start, stop)` of latent frames.

    Overlapping predictions are averaged, with a window's weights falling towards its ends.

    Source: Bar-Tal et al., MultiDiffusion (arXiv:2302.08113), over time.
    """

    family: Predictor
    windows: Sequence[tuple[int, int]]

    @property
    def spec(self) -> FamilySpec:
        return self.family.spec

    def predict(self, latents: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        total = torch.zeros_like(latents, dtype=torch.float32)
        weights = latents.new_zeros(latents.shape[2], dtype=torch.float32)
        for start, stop in self.windows:
            weight = triangular_weights(stop - start).to(latents.device)
            prediction = self.family.predict(latents[:, :, start:stop], sigma, conditioning)
            total[:, :, start:stop] += weight[:, None, None] * prediction
            weights[start:stop] += weight
        return total / weights[:, None, None]


def triangular_weights(length: int) -> Tensor:
    """Return weights `[length]` that rise from both ends to the middle and are positive everywhere."""
    position = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(position, position.flip(0))


def prediction_for_clean(clean: Tensor, latents: Tensor, level: float, spec: FamilySpec) -> Tensor:
    """Return the model output at noise level `level` that implies the given clean latents."""
    noise = (latents.float() - add_noise(spec.prediction, clean, torch.zeros_like(clean), level)) / level
    return training_target(spec.prediction, clean, noise, level)


def _repeat_rows(batch: Tensor, count: int) -> Tensor:
    """Repeat a batch to `count` rows, once for each branch of guidance."""
    return batch.repeat(count // len(batch), *[1] * (batch.ndim - 1))
