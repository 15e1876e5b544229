"""Diffusion-DPO and Flow-DPO: denoise a pair's chosen clip better than the reference model does.

source      Diffusion-DPO, arXiv:2311.12908, Eq. 13-14; Flow-DPO, arXiv:2501.13918, Eq. 8 (constant weight over noise
            levels, which its authors found better than a weight that falls); IPO, arXiv:2310.12036, Eq. 17; hinge,
            arXiv:2305.10425; the weight of a pair, VideoDPO, arXiv:2412.14167, sec. 3.3; the chosen clip's own
            likelihood in addition to a preference, RPO, arXiv:2404.19733, Eq. 1 (TRL's loss type "sft"); the offset of
            a pair, ODPO, arXiv:2402.10571, Eq. 8

Both clips of a pair are noised with the same noise at the same level. With e = the prediction's squared error, reduced
over a clip's elements, a clip's log-ratio to the reference is that of two unit Gaussians, times a scale S:

    r = S / 2 (e_ref - e),    delta = r_chosen - r_rejected
    sigmoid   -log sigmoid(beta delta)          hinge   max(0, 1 - beta delta)         ipo   (delta - 1 / (2 beta))^2
    sft       beta S / 2 e_chosen: fine-tuning on the chosen clips, alone or added to one of the others. A preference
              can be satisfied by denoising both clips worse, the rejected one more so; this term prevents that. At
              weight 1 its gradient equals that of a pair that the model ranks completely wrong.

Why there is a scale. A language model's beta has no meaning here until the reduction and S are fixed. Mean reduction
and S = 1 with beta = 0.2 leave beta delta near 1e-4: the loss stays at log 2 and the gradient is that of unregularised
error matching. Sum reduction over a video's 5e5 elements with beta = 0.2 is 1e5 in mean units and saturates. Diffusion-
DPO's own setting is the mean with beta 5000. Therefore the error is the mean, S is explicit, and

    beta_eff = S beta

is the value to compare with the papers; with S = 25,000, beta = 0.2 equals their 5000. `scale_from_gap` measures S.

The papers' beta depends on what the network predicts. Diffusion-DPO's 5000 is for the error of the noise. A flow model
predicts a velocity, whose error is 1 / (1 - s)^2 times that of the noise at level s (v = eps - x0, and x0 = x_t - s v);
that of v-prediction is likewise 1 / alpha^2 times. At s = 0.75, the median of Wan's training levels, the factor is 16.
Published values for flow models are 100 (Flow-GRPO's DPO, SD3) and 2000 (Flow-Factory); S = 2500 makes beta = 0.2 500,
between them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Loss = Literal["sigmoid", "ipo", "hinge"]
Prediction = Literal["flow", "epsilon", "v_prediction"]
PREFERENCES: tuple[Loss, ...] = get_args(Loss)
PerPair = Float[Tensor, "B"]
ERROR_SCALE = 25_000.0
"""Default S for networks that predict the noise: beta = 0.2 gives 5000, as in Diffusion-DPO."""
VELOCITY_SCALE = 2_500.0
"""Default S for networks that predict a velocity: beta = 0.2 gives 500."""
TYPICAL_GAP = 0.72
"""Typical score gap of a pair in VideoDPO-10k, as reported by its authors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairErrors:
    """Mean squared errors of a batch of pairs, each `float32[B]`; the reference's carry no gradient."""

    chosen: PerPair
    rejected: PerPair
    ref_chosen: PerPair
    ref_rejected: PerPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Unweighted `loss[B]` and the implicit rewards `beta r` (TRL's term), each `[B]` and detached."""

    loss: PerPair
    chosen_rewards: PerPair
    rejected_rewards: PerPair

    @property
    def margins(self) -> PerPair:
        return self.chosen_rewards - self.rejected_rewards

    @property
    def accuracies(self) -> PerPair:
        """1 where the pair is ranked correctly, 0 where not; 0.5 for a tie, as before the first step."""
        return (torch.sign(self.margins) + 1) / 2


def default_scale(prediction: Prediction) -> float:
    """Return the default S for a network's type of prediction."""
    return ERROR_SCALE if prediction == "epsilon" else VELOCITY_SCALE


def prediction_error(prediction: Float[Tensor, "B *dims"], target: Float[Tensor, "B *dims"]) -> PerPair:
    """Mean squared error `[B]` in float32, over all dimensions but the batch."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def preference(
    errors: PairErrors,
    *,
    beta: float,
    error_scale: float = ERROR_SCALE,
    loss: Loss = "sigmoid",
    label_smoothing: float = 0.0,
    offset: PerPair | None = None,
) -> Preference:
    """Return the loss of each pair.

    `label_smoothing` (0..0.5, sigmoid only) is the assumed fraction of wrong labels. `offset[B]` (sigmoid and hinge) is
    subtracted from `beta delta`, so that a clear preference needs a larger difference than a close one. Raises
    ValueError for a beta or scale that is not positive, and for a smoothing out of range.
    """
    if beta <= 0 or error_scale <= 0:
        raise ValueError(f"beta {beta} and error_scale {error_scale} must both be positive")
    if not 0 <= label_smoothing <= 0.5:
        raise ValueError(f"label_smoothing {label_smoothing} is out of range: it must be within 0..0.5")
    chosen = error_scale / 2 * (errors.ref_chosen - errors.chosen)
    rejected = error_scale / 2 * (errors.ref_rejected - errors.rejected)
    return Preference(
        loss=_loss(loss, chosen - rejected - (0.0 if offset is None else offset / beta), beta, label_smoothing),
        chosen_rewards=(beta * chosen).detach(),
        rejected_rewards=(beta * rejected).detach(),
    )


def _loss(loss: Loss, delta: PerPair, beta: float, label_smoothing: float) -> PerPair:
    match loss:
        case "sigmoid":
            right, wrong = F.logsigmoid(beta * delta), F.logsigmoid(-beta * delta)
            return -(1 - label_smoothing) * right - label_smoothing * wrong
        case "hinge":
            return F.relu(1 - beta * delta)
        case "ipo":
            return (delta - 1 / (2 * beta)).square()


def likelihood_loss(chosen: PerPair, *, beta: float, error_scale: float = ERROR_SCALE) -> PerPair:
    """Loss "sft" from squared errors `[B]`: `-beta` times the log-likelihood, up to a constant."""
    return beta * error_scale / 2 * chosen


def scale_from_gap(gaps: Float[Tensor, "N"], beta: float) -> float:
    """Return the S at which a typical gap |e_chosen - e_rejected| of a pair moves `beta delta` by one.

    `gaps[N]` are such differences, measured on N >= 2 pairs before training. A policy that shifts its errors by as much
    as the data vary is then in the sigmoid's curved range: neither flat at log 2 nor saturated. Raises ValueError for
    too few gaps, or gaps that do not vary.
    """
    std = float(gaps.float().std()) if len(gaps) > 1 else 0.0
    if not std > 0:
        raise ValueError(f"{len(gaps)} error gaps with a std of {std} cannot set a scale: use more or other pairs")
    return 2 / (beta * std)


def pair_weight(score_gap: PerPair, *, typical_gap: float = TYPICAL_GAP, power: float = 1.0) -> PerPair:
    """VideoDPO's pair weight `(typical / gap)^power`: small gaps are common, large ones rare.

    `score_gap[B]` > 0; `power` = 0 disables weighting. (The published data set calls the gap's probability `score`.)
    """
    return (typical_gap / score_gap).pow(power)
