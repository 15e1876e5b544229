"""Golden ten-step latents of fixed requests, which detect any change of the generated clips.

`pytest tests/engine/generation/test_golden.py --update-golden` rewrites tests/fixtures/latents/*.json; give the reason
in the commit message.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.family_interface import ModelFamily
from engine.request import GenerationRequest
from engine.sampling.sampler import denoise
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for

TOLERANCE = 2e-3  # of values of about 1: other CPUs and PyTorch versions round differently, other maths differs by more
REQUESTS = {
    "tiny": GenerationRequest(prompt="a red circle moving right", num_frames=17, width=64, height=64, num_steps=10),
    "mini": GenerationRequest(
        prompt="a red circle moving right on a white background", num_frames=17, width=64, height=64, num_steps=10
    ),
}


def final_latents(family: ModelFamily, request: GenerationRequest) -> torch.Tensor:
    latents = family.init_latents(request, [generator_for(request.seed)])
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, latents.shape[2:].numel())
    prompt, negative = replace(family.encode([request.prompt]), fps=request.fps), family.encode([""])
    steps = denoise(family, latents, sigmas, prompt, negative=negative, guidance=request.guidance)
    return list(steps)[-1].next_latents


def summary(latents: torch.Tensor) -> dict[str, Any]:
    """Return statistics of the latents: moments, a few values, and sums with fixed random signs."""
    flat = latents.double().flatten()
    signs = torch.randint(0, 2, (4, flat.numel()), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    return {
        "shape": list(latents.shape),
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "values": flat[:: max(1, flat.numel() // 16)][:16].tolist(),
        "signed_means": (signs @ flat / flat.numel()).tolist(),
    }


@pytest.mark.parametrize("which", ["tiny", "mini"])
def test_ten_steps_are_what_they_were(
    which: str, request: pytest.FixtureRequest, open_family: Any, golden_folder: Path, update_golden: bool
) -> None:
    folder: Path = request.getfixturevalue(f"{which}_folder")
    measured = summary(final_latents(open_family(folder), REQUESTS[which]))
    file = golden_folder / f"{which}_latents.json"
    if update_golden:
        file.write_text(json.dumps(measured, indent=1) + "\n")
    if not file.is_file():
        pytest.skip(f"{file.name} has not been written yet: run this test with --update-golden")
    golden = json.loads(file.read_text())
    assert measured["shape"] == golden["shape"]
    for name in ("mean", "std", "values", "signed_means"):
        assert measured[name] == pytest.approx(golden[name], abs=TOLERANCE), name


def test_the_summary_notices_small_changes() -> None:
    latents = torch.randn(1, 8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before, after = summary(latents), summary(latents * 1.01)
    assert any(after[name] != pytest.approx(before[name], abs=TOLERANCE) for name in ("std", "values"))
