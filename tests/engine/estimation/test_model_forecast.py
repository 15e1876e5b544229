"""Forecasts of models: their parts, their times, and the options that a card needs."""

from dataclasses import asdict
from typing import Any

import pytest

from engine.config.presets import load_model_preset, preset_keys
from engine.estimation.memory import usable_gib
from engine.estimation.model_forecast import CARDS, fit_generation, fit_training, forecast_model, memory_summary
from engine.generation.validation import why_untrainable

LARGE = "hunyuanvideo"


def changed(key: str, **fields: Any) -> Any:
    return load_model_preset(key).model_copy(update=fields)


@pytest.mark.parametrize("key", preset_keys("models"))
def test_every_preset_has_a_forecast_for_each_use(key: str) -> None:
    model = load_model_preset(key)
    found = forecast_model(model)
    assert found is not None and all(value >= 0 for value in asdict(found.clip).values())
    assert min(found.clip.network, found.clip.vae, found.clip.passes, found.clip.decoding, found.clip.text) > 0
    assert (found.training is None) == (why_untrainable(model) is not None)
    assert found.training is None or found.training.peak > found.clip.network
    assert found.clip_flop > found.update_flop > 0 and found.decode_flop > 0
    times = [found.clip_seconds(card) for card in CARDS]
    assert times == sorted(times, reverse=True)


def test_a_law_of_decoding_is_its_own_or_that_of_the_preset_that_is_named() -> None:
    shapes = {key: shape for key in preset_keys("models") if (shape := load_model_preset(key).network)}
    lent = {key: shape.decoding_of for key, shape in shapes.items() if shape.decoding_of}
    assert lent["wan21_14b"] == "wan21_1_3b" and not set(lent.values()) & set(lent), "lenders measured their own"
    for key, lender in lent.items():
        assert shapes[key].decode_bytes == shapes[lender].decode_bytes
        assert shapes[key].error >= shapes[lender].error
        assert shapes[key].vae_gib == shapes[lender].vae_gib


def test_the_summary_names_weights_and_peak() -> None:
    assert memory_summary(load_model_preset("wan21_14b")) == "27.1 GiB / 37.8 GiB"
    assert memory_summary(changed("ltx", network=None)) == "unknown"


def test_a_model_of_unknown_size_has_none() -> None:
    unknown = changed("ltx", network=None)
    assert forecast_model(unknown) is None and fit_generation(unknown, 80) is None and fit_training(unknown, 80) is None


def test_options_lower_the_parts_that_they_are_for() -> None:
    def clip(**options: Any) -> Any:
        found = forecast_model(changed("ltx", **options))
        assert found is not None
        return found.clip

    plain = clip()
    assert clip(offload_text=True).others < plain.others < clip(offload_text=True).text + 1
    assert clip(tile_vae=True).decoding < plain.decoding
    assert clip(weights="float8").network == pytest.approx(plain.network / 2, rel=0.1)
    assert clip(offload_blocks=True).network < plain.network / 5
    assert clip(offload_text=True).passes == plain.passes


def test_a_card_gets_the_mildest_options_that_are_enough() -> None:
    model = load_model_preset(LARGE)
    fits = {card.memory_gib: fit_generation(model, card.memory_gib) for card in CARDS}
    assert all(fit is not None and fit.fits and fit.peak <= usable_gib(gib) for gib, fit in fits.items())
    assert fits[192] is not None and fits[192].options == ()
    assert fits[24] is not None and "offload_blocks" in fits[24].options
    small = fit_training(model, 24)
    assert small is not None and not small.fits and "offload_blocks" not in small.options


def test_a_model_that_only_generates_has_no_training() -> None:
    found = forecast_model(changed(LARGE, offload_blocks=True))
    assert found is not None and found.training is None
    assert fit_training(changed(LARGE, offload_blocks=True), 192) is None


def test_longer_clips_need_more() -> None:
    short, long = (forecast_model(load_model_preset("ltx"), num_frames=frames) for frames in (81, 161))
    assert short is not None and long is not None
    assert short.clip.passes < long.clip.passes and short.clip_flop < long.clip_flop
    assert short.clip.network == long.clip.network
