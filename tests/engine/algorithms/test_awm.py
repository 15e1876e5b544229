"""The losses of AWM, RVM and DGPO against hand-computed values, and the directions of their gradients."""

import math

import pytest
import torch

from engine.algorithms.awm import GHUBER_FLOOR, awm_loss, dgpo_loss, matching_error, reference_decay, rvm_loss


def test_matching_error_by_hand():
    output, target = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    sigma = torch.tensor([0.5, 0.9])
    assert matching_error(output, target, sigma).tolist() == [2.5, 0.0]
    expected = 0.5 / 0.25 * ((2.5 + GHUBER_FLOOR) ** 0.25 - GHUBER_FLOOR**0.25)
    assert matching_error(output, target, sigma, "ghuber").tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_loss_by_hand():
    # ratios exp(0.5 - 0.4) = 1.105, exp(0.5 - 1.0) = 0.607, exp(0) = 1; clip range 0.05
    error, old = torch.tensor([0.4, 1.0, 0.5]), torch.full((3,), 0.5)
    found = awm_loss(error, old, torch.tensor([1.0, 1.0, -2.0]), clip_range=0.05)
    assert found.loss.tolist() == pytest.approx([-1.05, -math.exp(-0.5), 2.0], abs=1e-6)
    assert found.clipped.tolist() == [1.0, 1.0, 0.0]


def test_gradient_lowers_the_error_of_good_clips_and_stops_outside_the_clip_range():
    error = torch.tensor([0.5, 0.5, 0.3, 0.7], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    awm_loss(error, torch.full((4,), 0.5), advantage, clip_range=0.1).loss.sum().backward()
    assert error.grad.tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])


def test_a_negative_advantage_cannot_push_without_bound():
    errors = torch.linspace(0, 50, 200)
    found = awm_loss(errors, torch.zeros(200), torch.full((200,), -1.0), clip_range=0.2)
    assert found.loss.min() == pytest.approx(0.8)


def test_bad_clip_range_is_refused():
    with pytest.raises(ValueError, match="clip_range 0"):
        awm_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), clip_range=0.0)


def test_rvm_is_a_signed_weight_of_the_error():
    error = torch.tensor([0.5, 0.5, 2.0], requires_grad=True)
    loss = rvm_loss(error, torch.tensor([1.0, -3.0, 0.0]))
    assert loss.tolist() == pytest.approx([0.05, -0.15, 0.0], abs=1e-6)
    loss.sum().backward()
    assert error.grad.tolist() == pytest.approx([0.1, -0.3, 0.0], abs=1e-6)


def dgpo(error, *, old=None, beta=10.0, clip_range=0.5, advantage=(1.0, -1.0, 2.0, -2.0), reference=0.5):
    old = error.detach() if old is None else old
    references = torch.full_like(old, reference)
    options = {"group_size": 2, "beta": beta, "clip_range": clip_range}
    return dgpo_loss(error, old, references, torch.tensor(advantage), **options)


def test_dgpo_by_hand():
    # group 1: z = 10 / 2 (1 (0.4 - 0.5) - 1 (0.6 - 0.5)) = -1; group 2: 10 / 2 (2 (0.7 - 0.5) - 2 (0.5 - 0.5)) = 2
    found = dgpo(torch.tensor([0.4, 0.6, 0.7, 0.5]))
    expected = [math.log(1 + math.exp(-1)) / 10, math.log(1 + math.exp(2)) / 10]
    assert found.loss.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.ratio.tolist() == [1.0] * 4 and found.clipped.tolist() == [0.0] * 4


def test_dgpos_gradient_is_that_of_the_authors_weights():
    """The mean over groups has the gradient sigmoid(z) A / B of each clip's error; z as in the test above."""
    error = torch.tensor([0.4, 0.6, 0.7, 0.5], requires_grad=True)
    dgpo(error).loss.mean().backward()
    weights = [1 / (1 + math.exp(1)), 1 / (1 + math.exp(-2))]
    expected = [weights[0] / 4, -weights[0] / 4, 2 * weights[1] / 4, -2 * weights[1] / 4]
    assert error.grad.tolist() == pytest.approx(expected, abs=1e-6)


def test_dgpo_of_a_pair_is_diffusion_dpo():
    """DPO's loss with half of beta for the advantages 1 and -1; a constant drops out of the group."""
    error = torch.tensor([0.3, 0.9])
    pair = dgpo(error, advantage=(1.0, -1.0))
    assert float(pair.loss) == pytest.approx(math.log(1 + math.exp(10 / 2 * (0.3 - 0.9))) / 10, abs=1e-6)
    assert float(dgpo(error, advantage=(1.0, -1.0), reference=0.1).loss) == pytest.approx(float(pair.loss), abs=1e-6)


def test_dgpo_stops_clips_that_have_moved_too_far_in_their_direction():
    error = torch.tensor([0.2, 0.8, 0.8, 0.2], requires_grad=True)  # the ratios are 1.35, 0.74, 0.74 and 1.35
    found = dgpo(error, old=torch.full((4,), 0.5), clip_range=0.1, advantage=(1.0, -1.0, 1.0, -1.0))
    assert found.clipped.tolist() == [1.0, 1.0, 0.0, 0.0]
    found.loss.sum().backward()
    assert error.grad[:2].tolist() == [0.0, 0.0] and error.grad[2] > 0 > error.grad[3]


def test_reference_decay_is_a_ramp():
    assert [reference_decay(step, slope=0.001, most=0.3) for step in (0, 100, 1000)] == [0.0, 0.1, 0.3]
