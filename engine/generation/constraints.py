"""Families whose prediction is steered: frames that are held, frames pulled towards a target, windows that overlap.

Each is a `Predictor` around another, so that the one loop over noise levels knows nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.model_spec import Conditioning, FamilySpec, Predictor
from engine.sampling.forward_process import add_noise, predict_x0_and_noise, training_target

PULL_UNTIL = 0.4  # the noise level below which nothing is pulled any more


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedFrames:
    """Latent frames where `held[t]` come out as `clean[B,C,t,h,w]` exactly; the network sees them as given.

    A family that takes a noise level for each frame (`native`) sees them clean, at level 0; any other sees them at the
    level of the rest, under the same `noise[B,C,t,h,w]` at each step.
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
        level, of = float(sigma[0]), self.spec.prediction
        clean, noise = (_rows(known, len(latents)) for known in (self.clean, self.noise))
        seen = clean if self.native else add_noise(of, clean, noise, level)
        held = self.held.to(latents.device)[None, None, :, None, None]
        inputs = torch.where(held, seen.to(latents), latents)
        levels = torch.where(self.held.to(sigma.device), 0.0, sigma[:, None]) if self.native else sigma
        free = self.family.predict(inputs, levels, conditioning)
        return torch.where(held, prediction_for_clean(clean, latents, level, self.spec), free)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedFrames:
    """The clean latents that a prediction says are drawn towards `target[B,C,t,h,w]`: by `strength` 0..1 at the highest
    noise level, evenly less down to 0 at PULL_UNTIL; only where `trust[B,1,t,h,w]` (0..1) lets them.
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
        weight = self.strength * max(0.0, (level - PULL_UNTIL) / (1 - PULL_UNTIL))
        if weight == 0:
            return prediction
        clean, _ = predict_x0_and_noise(self.spec.prediction, prediction, latents, level)
        target, trust = (_rows(known, len(latents)).to(clean) for known in (self.target, self.trust))
        return prediction_for_clean(clean + weight * trust * (target - clean), latents, level, self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlappingWindows:
    """A clip longer than the network's reach: it sees the windows `[start, stop)` of latent frames one after another,
    and where they overlap its predictions are averaged, each window's counting less towards its ends.

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
    """Weights `[length]` that rise from both ends to the middle, never 0."""
    place = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(place, place.flip(0))


def prediction_for_clean(clean: Tensor, latents: Tensor, level: float, spec: FamilySpec) -> Tensor:
    """The prediction at noise level `level` that says these clean latents, given where the latents are."""
    noise = (latents.float() - add_noise(spec.prediction, clean, torch.zeros_like(clean), level)) / level
    return training_target(spec.prediction, clean, noise, level)


def _rows(known: Tensor, count: int) -> Tensor:
    """A batch again for each branch of guidance."""
    return known.repeat(count // len(known), *[1] * (known.ndim - 1))
