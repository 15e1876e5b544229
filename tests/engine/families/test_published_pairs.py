"""Presets for a published data set fit its clips: rate, frames and size, on the double of the preset's model."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.config.presets import load_preset, load_train_preset, preset_keys
from engine.training.data.clip_latents import ClipLatentCache
from engine.video.writer import write_mp4

SIZES = ("num_frames", "width", "height")


def uses_of(pairs: str) -> dict[str, list[dict[str, Any]]]:
    """The settings with which shipped presets and curricula train on `pairs`, by the model's family."""
    found: dict[str, list[dict[str, Any]]] = {}
    presets = {key: load_train_preset(key) for key in preset_keys("train")}
    uses = [(preset.model, preset.settings) for preset in presets.values() if preset.pairs == pairs]
    for key in preset_keys("curricula"):
        for stage in load_preset("curricula", key).stages:
            preset = presets[stage.preset]
            if preset.pairs == pairs:
                uses.append((stage.changes.get("model", preset.model), {**preset.settings, **stage.settings}))
    for model, settings in uses:
        found.setdefault(load_preset("models", model).family, []).append(settings)
    return found


@pytest.mark.parametrize("tiny", ["wan", "ltx"], indirect=True)
def test_videodpos_clips_are_learnt_as_the_presets_say(
    tiny: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its clips are VideoCrafter2's: 16 frames at 10 fps, 512x320."""
    clip = tmp_path / "video.mp4"
    write_mp4(clip, np.random.default_rng(0).integers(0, 256, (16, 320, 512, 3), np.uint8), 10.0)
    uses = uses_of("videodpo10k")
    assert set(uses) == {"wan", "ltx"}
    for settings in uses[tiny.model.family]:
        sizes = {name: settings[name] for name in SIZES}
        pairs = ClipLatentCache(tiny.open(), sizes, fps=settings.get("fps", load_preset("models", "wan21_1_3b").fps))
        with caplog.at_level(logging.WARNING):
            assert pairs.shape({"prompt": "a dog", "chosen": clip}) == tuple(sizes.values())
        assert caplog.messages == [] and pairs.resampled == set()
