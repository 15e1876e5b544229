"""Preference losses against TRL's formulas, the papers' limits, and a pair that is really learned."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from engine.algorithms import dpo
from engine.sampling.forward_process import add_noise, training_target


def errors(*columns: float) -> dpo.PairErrors:
    names = ("chosen", "rejected", "ref_chosen", "ref_rejected")
    return dpo.PairErrors(**{name: torch.tensor([value]) for name, value in zip(names, columns, strict=True)})


@pytest.fixture
def random_errors() -> dpo.PairErrors:
    drawn = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
    return dpo.PairErrors(chosen=drawn[0], rejected=drawn[1], ref_chosen=drawn[2], ref_rejected=drawn[3])


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo"])
def test_equal_to_trl_on_gaussian_log_likelihoods(random_errors: dpo.PairErrors, loss: str) -> None:
    """TRL's lines, from `DPOTrainer._compute_loss`, on log p = -S e / 2; beta 0.2, S 7."""
    e, beta, scale = random_errors, 0.2, 7.0
    chosen_scores = -scale / 2 * e.chosen - -scale / 2 * e.ref_chosen
    rejected_scores = -scale / 2 * e.rejected - -scale / 2 * e.ref_rejected
    delta_score = chosen_scores - rejected_scores
    trl = {
        "sigmoid": -F.logsigmoid(beta * delta_score),
        "hinge": torch.relu(1 - beta * delta_score),
        "ipo": (delta_score - 1 / (2 * beta)) ** 2,
    }
    ours = dpo.preference(e, beta=beta, error_scale=scale, loss=loss)  # type: ignore[arg-type]
    torch.testing.assert_close(ours.loss, trl[loss])
    torch.testing.assert_close(ours.chosen_rewards, beta * chosen_scores)
    torch.testing.assert_close(ours.margins, beta * delta_score)


def test_trl_still_says_what_the_parity_test_copies() -> None:
    """The three lines above are TRL's own as long as its source holds them."""
    import inspect

    from trl import DPOTrainer

    source = inspect.getsource(DPOTrainer)
    for line in (
        "-F.logsigmoid(self.beta * delta_score)",
        "torch.relu(1 - self.beta * delta_score)",
        "(ipo_delta - 1 / (2 * self.beta)) ** 2",
    ):
        assert line in source


def test_equal_to_the_diffusion_dpo_paper(random_errors: dpo.PairErrors) -> None:
    """Eq. 14 as its authors compute it: -log sigmoid(-beta / 2 (model gap - reference gap)), beta 5000."""
    e = random_errors
    inside = -0.5 * 5000 * ((e.chosen - e.rejected) - (e.ref_chosen - e.ref_rejected))
    ours = dpo.preference(e, beta=0.2)
    assert 0.2 * dpo.ERROR_SCALE == pytest.approx(5000)
    torch.testing.assert_close(ours.loss, -F.logsigmoid(inside), rtol=1e-4, atol=1e-3)


def test_the_language_models_beta_leaves_the_loss_pinned() -> None:
    """The trap that the scale is for: a fair improvement of 1e-3 in the mean error moves nothing at S = 1."""
    moved = errors(0.199, 0.201, 0.200, 0.200)
    assert float(dpo.preference(moved, beta=0.2, error_scale=1.0).loss) == pytest.approx(math.log(2), abs=2e-4)
    assert float(dpo.preference(moved, beta=0.2).loss) < 0.02


def test_the_chosen_clips_likelihood_pulls_as_hard_as_a_pair_that_is_wholly_wrong() -> None:
    """d loss / d e_chosen: of "sft" at weight 1, and of the sigmoid far on the wrong side."""
    chosen = torch.tensor([0.4], requires_grad=True)
    dpo.likelihood_loss(chosen, beta=0.2, error_scale=2500.0).sum().backward()
    alone = chosen.grad.clone() if chosen.grad is not None else torch.zeros(1)
    wrong = torch.tensor([9.0], requires_grad=True)
    others = {name: torch.tensor([0.4]) for name in ("rejected", "ref_chosen", "ref_rejected")}
    dpo.preference(dpo.PairErrors(chosen=wrong, **others), beta=0.2, error_scale=2500.0).loss.sum().backward()
    assert float(alone) == pytest.approx(0.2 * 2500 / 2)
    torch.testing.assert_close(wrong.grad, alone)


def test_before_training_all_is_even() -> None:
    even = dpo.preference(errors(0.3, 0.5, 0.3, 0.5), beta=0.2)
    assert float(even.loss) == pytest.approx(math.log(2))
    assert float(even.margins) == 0
    assert float(even.accuracies) == 0.5


def test_ipo_is_least_at_its_target() -> None:
    beta, scale = 0.2, 100.0
    gap = 2 / (2 * beta) / scale  # Eq. 17 of the IPO paper: the margin that it pulls to is 1 / (2 beta)
    assert float(dpo.preference(errors(0.5 - gap, 0.5, 0.5, 0.5), beta=beta, error_scale=scale, loss="ipo").loss) < 1e-9


def test_smoothing_mixes_the_flipped_loss(random_errors: dpo.PairErrors) -> None:
    e = random_errors
    flipped = dpo.PairErrors(chosen=e.rejected, rejected=e.chosen, ref_chosen=e.ref_rejected, ref_rejected=e.ref_chosen)
    plain, other = (dpo.preference(pair, beta=0.2, error_scale=10.0).loss for pair in (e, flipped))
    smooth = dpo.preference(e, beta=0.2, error_scale=10.0, label_smoothing=0.1).loss
    torch.testing.assert_close(smooth, 0.9 * plain + 0.1 * other)


@given(st.floats(0.01, 2), st.floats(0.01, 2), st.floats(0.01, 2), st.floats(0.01, 2))
def test_better_on_the_chosen_is_never_dearer(chosen: float, rejected: float, ref: float, gain: float) -> None:
    for loss in ("sigmoid", "hinge"):
        before = dpo.preference(errors(chosen, rejected, ref, ref), beta=0.2, error_scale=10.0, loss=loss).loss  # type: ignore[arg-type]
        after = dpo.preference(errors(chosen - gain, rejected, ref, ref), beta=0.2, error_scale=10.0, loss=loss).loss  # type: ignore[arg-type]
        assert float(after) <= float(before) + 1e-6


def test_error_is_the_mean_of_squares_in_float32() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 3, 4, 5, generator=generator)
    expected = torch.stack([((x - y) ** 2).mean() for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(dpo.prediction_error(a, b), expected)
    assert dpo.prediction_error(a.bfloat16(), b.bfloat16()).dtype == torch.float32


def test_scale_from_gap_puts_a_typical_gap_at_one() -> None:
    gaps = 1e-3 * torch.randn(500, generator=torch.Generator().manual_seed(2))
    scale = dpo.scale_from_gap(gaps, beta=0.2)
    typical = errors(0.5, 0.5 + float(gaps.std()), 0.5, 0.5)
    assert float(dpo.preference(typical, beta=0.2, error_scale=scale).margins) == pytest.approx(1, rel=1e-3)
    with pytest.raises(ValueError, match="error gaps"):
        dpo.scale_from_gap(torch.zeros(5), beta=0.2)


def test_rare_pairs_weigh_more() -> None:
    weights = dpo.pair_weight(torch.tensor([0.72, 0.36, 1.44]))
    assert weights.tolist() == pytest.approx([1.0, 2.0, 0.5])
    assert dpo.pair_weight(torch.tensor([0.1, 3.0]), power=0.0).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"beta": 0.0}, "positive"),
        ({"beta": 0.2, "error_scale": -1.0}, "positive"),
        ({"beta": 0.2, "label_smoothing": 0.6}, "label_smoothing"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dpo.preference(errors(1.0, 1.0, 1.0, 1.0), **bad)  # type: ignore[arg-type]


def toy_error(kind: str, clean: torch.Tensor, noise: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Of a network that reads a tenth of its input and adds a bias, at noise level 0.6."""
    prediction = 0.1 * add_noise(kind, clean, noise, 0.6) + bias  # type: ignore[arg-type]
    return dpo.prediction_error(prediction, training_target(kind, clean, noise, 0.6))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["flow", "v_prediction"])
@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_learns_the_preference_of_a_toy(kind: str, loss: str) -> None:
    """With shared noise, the two clips differ only in the clean part of the target, which the bias learns."""
    generator = torch.Generator().manual_seed(3)
    chosen, rejected = torch.ones(1, 8), -torch.ones(1, 8)
    bias, nothing = torch.zeros(8, requires_grad=True), torch.zeros(8)
    optimizer = torch.optim.Adam([bias], lr=0.02)
    for _ in range(100):
        noise = torch.randn(1, 8, generator=generator)
        pair = dpo.PairErrors(
            chosen=toy_error(kind, chosen, noise, bias),
            rejected=toy_error(kind, rejected, noise, bias),
            ref_chosen=toy_error(kind, chosen, noise, nothing),
            ref_rejected=toy_error(kind, rejected, noise, nothing),
        )
        found = dpo.preference(pair, beta=0.2, error_scale=50.0, loss=loss)  # type: ignore[arg-type]
        optimizer.zero_grad()
        found.loss.mean().backward()
        optimizer.step()
    assert float(found.margins) > 0.2
    assert float(found.chosen_rewards) > 0 > float(found.rejected_rewards)
