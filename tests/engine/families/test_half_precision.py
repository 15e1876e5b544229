"""Every family's network trained as a whole in half precision, written, and read again as a part of its model."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.families.lora_files import EXPERTS
from engine.families.registry import family_class
from engine.seeds import generator_for
from engine.training.network_files import compute_dtype, set_compute_dtype, write_network
from engine.training.weights import setup_lora, trainable

ONE_OF_EACH = [
    "ltx_condition_without_pictures",
    "ltx2",
    "wan",
    "wan_experts",
    "wan_level_per_token",
    "wan_vace_without_pictures",
    "cogvideox",
    "cogvideox_rotary",
    "cogvideox15",
    "sana_video",
    "hunyuanvideo",
    "animatediff",
]


def opened(tiny: SimpleNamespace, dtype: torch.dtype, **parts: str) -> Any:
    options = replace(tiny.options, parts={**tiny.options.parts, **parts})
    family = family_class(tiny.model.family)(str(tiny.folder), options)
    family.load("cpu", dtype)
    return family


def velocity(family: Any, tiny: SimpleNamespace, level: float = 0.5) -> torch.Tensor:
    request = tiny.model.request
    noise = family.init_latents(request, [generator_for(3)])
    words = replace(family.encode(["a star"]), fps=request.fps, guidance=1.0)
    return family.predict(noise, torch.tensor([level]), words)


@pytest.mark.parametrize("tiny", ONE_OF_EACH, indirect=True)
def test_gradients_flow_and_the_network_is_used_again(tiny: SimpleNamespace, tmp_path: Path) -> None:
    dtype = torch.bfloat16
    family = opened(tiny, dtype)
    base = velocity(family, tiny).detach()
    setup_lora(family.network, family.spec.lora_targets, rank=0, alpha=None, seed=0)
    set_compute_dtype(family.network, compute_dtype(dtype))
    levels = (0.95, 0.3) if hasattr(family.network, "experts") else (0.5,)
    sum(velocity(family, tiny, level).square().mean() for level in levels).backward()
    got = [p.grad for _, p in trainable(family.network) if p.grad is not None]
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in got)
    assert sum(bool((grad != 0).any()) for grad in got) > 0.5 * len(got)
    with torch.no_grad():
        for _, parameter in trainable(family.network):
            parameter.mul_(1.25)
        wanted = velocity(family, tiny)
    write_network(family.network, tmp_path, dict(family.network.named_parameters()), dtype)
    experts = getattr(family.network, "experts", {})
    assert experts in ({}, EXPERTS)
    parts = {part: str(tmp_path / part) for part in experts.values()} or {family.spec.network_part: str(tmp_path)}
    again = opened(tiny, dtype, **parts)
    with torch.no_grad():
        change = (wanted - base).abs().max()
        assert (velocity(again, tiny) - wanted).abs().max() < 0.1 * change
