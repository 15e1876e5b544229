"""AWM's loss against hand-computed values and its gradient's direction."""

import math

import pytest
import torch

from engine.algorithms.awm import GHUBER_FLOOR, awm_loss, matching_error, reference_decay


def test_matching_error_by_hand():
    output, target = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    sigma = torch.tensor([0.5, 0.9])
    assert matching_error(output, target, sigma).tolist() == [2.5, 0.0]
    expected = 0.5 / 0.25 * ((2.5 + GHUBER_FLOOR) ** 0.25 - GHUBER_FLOOR**0.25)
    assert matching_error(output, target, sigma, "ghuber").tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_loss_by_hand():
    # ratios exp(0.5 - 0.4) = 1.105, exp(0.5 - 1.0) = 0.607, exp(0) = 1; clip range 0.05
    error, old = torch.tensor([0.4, 1.0, 0.5]), torch.full((3,), 0.5)
    advantage, divergence = torch.tensor([1.0, 1.0, -2.0]), torch.tensor([0.1, 0.2, 0.3])
    found = awm_loss(error, old, advantage, clip_range=0.05, divergences=((2.0, divergence), (1.0, divergence)))
    expected = [-1.05 + 0.3, -math.exp(-0.5) + 0.6, 2.0 + 0.9]
    assert found.loss.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.clipped.tolist() == [1.0, 1.0, 0.0]
    assert found.kl.tolist() == pytest.approx([0.3, 0.6, 0.9], abs=1e-6)


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


def test_reference_decay_is_a_ramp():
    assert [reference_decay(step, slope=0.001, most=0.3) for step in (0, 100, 1000)] == [0.0, 0.1, 0.3]
