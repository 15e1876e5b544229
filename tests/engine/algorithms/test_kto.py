"""KTO's loss against values by hand, its gradient, and what it leaves alone."""

import math

import pytest
import torch

from engine.algorithms import dpo, kto


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_loss_is_the_papers() -> None:
    """w (1 - sigmoid(beta (r - z))) for a good clip, w (1 - sigmoid(beta (z - r))) for a bad one."""
    ratio, good = torch.tensor([0.5, -1.0, 2.0, 0.1]), torch.tensor([True, True, False, False])
    found = kto.kto_loss(ratio, good, torch.tensor(0.4), beta=0.7, good_weight=2.0, bad_weight=0.5)
    wanted = [2 * (1 - sigmoid(0.7 * (r - 0.4))) for r in (0.5, -1.0)]
    wanted += [0.5 * (1 - sigmoid(0.7 * (0.4 - r))) for r in (2.0, 0.1)]
    assert found.loss.tolist() == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(found.rewards, 0.7 * ratio)


def test_the_reference_point_is_at_least_0_and_has_no_gradient() -> None:
    ratio = torch.tensor([0.3, -0.2], requires_grad=True)
    good = torch.tensor([True, False])
    below = kto.kto_loss(ratio, good, torch.tensor(-5.0), beta=1.0).loss
    torch.testing.assert_close(below, kto.kto_loss(ratio, good, torch.tensor(0.0), beta=1.0).loss)
    (gradient,) = torch.autograd.grad(kto.kto_loss(ratio, good, ratio.mean(), beta=1.0).loss.sum(), ratio)
    slopes = [sigmoid(r - 0.05) * (1 - sigmoid(r - 0.05)) for r in (0.3, -0.2)]
    assert gradient.tolist() == pytest.approx([-slopes[0], slopes[1]], rel=1e-5)


def test_before_the_first_update_every_clip_costs_half_its_weight() -> None:
    error = torch.tensor([0.4, 0.9])
    ratio = kto.log_ratio(error, error.clone(), 2500.0)
    found = kto.kto_loss(ratio, torch.tensor([True, False]), ratio.mean(), beta=0.2)
    assert found.loss.tolist() == [0.5, 0.5]


def test_a_log_ratio_is_that_of_dpo() -> None:
    chosen, rejected, ref_chosen, ref_rejected = torch.tensor([[0.2], [0.5], [0.3], [0.4]])
    pair = dpo.PairErrors(chosen=chosen, rejected=rejected, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    found = dpo.preference(pair, beta=0.2, error_scale=10.0)
    torch.testing.assert_close(0.2 * kto.log_ratio(chosen, ref_chosen, 10.0), found.chosen_rewards)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="beta 0"):
        kto.kto_loss(torch.zeros(1), torch.tensor([True]), torch.tensor(0.0), beta=0.0)
    with pytest.raises(ValueError, match="weights 1.0 and -1.0"):
        kto.kto_loss(torch.zeros(1), torch.tensor([True]), torch.tensor(0.0), beta=1.0, bad_weight=-1.0)


@pytest.mark.parametrize(("loss", "wanted"), [("sigmoid", 0.5), ("hinge", 0.5)])
def test_an_offset_is_a_difference_that_dpo_must_reach(loss: str, wanted: float) -> None:
    """ODPO: -log sigmoid(beta delta - offset); the loss with the offset at delta equals that without it at 0."""
    errors = {name: torch.tensor([value]) for name, value in zip(("chosen", "rejected"), (0.2, 0.4), strict=True)}
    level = {name: torch.tensor([0.3]) for name in ("ref_chosen", "ref_rejected", "chosen", "rejected")}
    beta_delta = 0.5 * 10 / 2 * 0.2
    assert beta_delta == pytest.approx(wanted)
    moved = dpo.preference(
        dpo.PairErrors(**{**level, **errors}),
        beta=0.5,
        error_scale=10.0,
        loss=loss,  # type: ignore[arg-type]
        offset=torch.tensor([beta_delta]),
    )
    even = dpo.preference(dpo.PairErrors(**level), beta=0.5, error_scale=10.0, loss=loss)  # type: ignore[arg-type]
    torch.testing.assert_close(moved.loss, even.loss)
