"""Where weights sit, for every family: their type, the text encoder's place, one clip at a time in the VAE, tiles."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import FamilyError
from engine.families.loading import move, read_network
from engine.families.registry import family_class
from engine.seeds import generator_for

TEXT = ("text_encoder", "text_encoder_2", "image_encoder")
FULL = [  # as a GPU, numpy, and torch on a CPU say it
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError("Unable to allocate 8.00 PiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


def opened(tiny: SimpleNamespace, device: str, dtype: torch.dtype, **options: Any) -> Any:
    family = family_class(tiny.model.family)(str(tiny.folder), replace(tiny.options, **options))
    family.load(device, dtype)
    return family


def told(family: Any, model: Any, prompt: str) -> Any:
    given = family.encode_pictures(model.pictures(1), model.places, model.request.num_frames) if model.places else {}
    words = replace(family.encode([prompt]), fps=model.request.fps, guidance=1.0)
    return replace(words, extras={**(words.extras or {}), **given})


def test_networks_run_in_the_type_that_is_asked_for(tiny_open: SimpleNamespace) -> None:
    """bfloat16 halves them; what the sampler sees is float32, near to what float32 says."""
    model, exact = tiny_open.model, tiny_open.family
    half = opened(tiny_open, "cpu", torch.bfloat16)
    sizes = [sum(parameter.nbytes for parameter in family.network.parameters()) for family in (half, exact)]
    assert sizes[0] < 0.8 * sizes[1], "some classes keep their norms in float32"
    latents = exact.init_latents(model.request, [generator_for(1)])
    level = torch.tensor([0.5])
    ours, wanted = (family.predict(latents, level, told(family, model, "a red circle")) for family in (half, exact))
    assert ours.dtype == torch.float32 and ours.isfinite().all()
    assert (ours - wanted).norm() < 0.1 * wanted.norm()
    frames = half.decode(latents)
    assert frames.dtype == np.uint8 and frames.std() > 1


def test_the_text_encoders_wait_off_the_device(tiny: SimpleNamespace) -> None:
    """On the meta device, which holds nothing: what is there has no weights, what waits on the CPU has."""
    waiting, present = (opened(tiny, "meta", torch.float32, offload_text=offload) for offload in (True, False))
    readers = [name for name in TEXT if getattr(waiting, name, None) is not None]
    assert "text_encoder" in readers
    for name in readers:
        assert getattr(waiting, name).device.type == "cpu" and getattr(present, name).device.type == "meta"
    assert waiting.network.device.type == "meta" and waiting.vae.device.type == "meta"


def test_the_text_encoders_stay_while_prompts_are_read(tiny_open: SimpleNamespace) -> None:
    """All that a family has, and they go back afterwards."""
    family = opened(tiny_open, "meta", torch.float32, offload_text=True)
    readers = [name for name in TEXT[:2] if hasattr(family, name)]
    for name in readers:
        setattr(family, name, Elsewhere())
    with family.text_encoders_on_device():
        assert {getattr(family, name).device for name in readers} == {"meta"}
    assert {getattr(family, name).device for name in readers} == {"cpu"}


class Elsewhere:
    """In place of a network: only where it is."""

    device = "cpu"

    def to(self, device: str) -> None:
        self.device = device


class Refusing(torch.nn.Linear):
    """No device has room for it."""

    error: Exception

    def to(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("full", FULL)
def test_no_room_for_a_network_is_said_with_what_it_needs(full: Exception, tmp_path: Path) -> None:
    """Of whichever kind the error is, when it is read and when it is moved."""
    network = Refusing(2**14, 2**13, bias=False, device="meta")
    network.error = full
    with pytest.raises(FamilyError, match=r"'here' needs 0\.5 GiB on cuda, more than is free there: free the device"):
        move(network, "cuda", "here")
    (tmp_path / "vae").mkdir()
    reader = SimpleNamespace(from_pretrained=lambda *args, **kwargs: network.to("cpu"))
    with pytest.raises(FamilyError, match=r"vae' needs 0\.0 GiB on cpu, more than is free there"):
        read_network(reader, tmp_path, "vae", "cpu", torch.float32)


def test_other_faults_of_a_device_are_not_taken_for_a_lack_of_room() -> None:
    network = Refusing(1, 1)
    network.error = RuntimeError("no kernel image is available")
    with pytest.raises(RuntimeError, match="no kernel image"):
        move(network, "cuda", "here")


@pytest.mark.gpu
def test_the_text_encoders_come_for_each_prompt(tiny: SimpleNamespace) -> None:
    family = opened(tiny, "cuda", torch.float32, offload_text=True)
    assert told(family, tiny.model, "a red circle").embeds.device.type == "cuda"
    waiting = [getattr(family, name) for name in TEXT if getattr(family, name, None) is not None]
    assert {encoder.device.type for encoder in waiting} == {"cpu"} and family.network.device.type == "cuda"


def test_the_vae_has_few_frames_at_a_time(tiny_open: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clip after another, both ways, where none is so small that two are faster; AnimateDiff's takes pictures."""
    monkeypatch.setattr("engine.families.ltx.SMALL_TOKENS", 0)
    family, request = tiny_open.family, tiny_open.model.request
    seen: list[int] = []
    hooks = [
        part.register_forward_pre_hook(lambda network, inputs: seen.append(len(inputs[0])))
        for part in (family.vae.encoder, family.vae.decoder)
    ]
    try:
        latents = family.init_latents(request, [generator_for(seed) for seed in range(4)])
        family.encode_frames(family.decode(latents))
    finally:
        for hook in hooks:
            hook.remove()
    assert len(seen) > 1
    assert max(seen) <= (1 if family.spec.frame_stride > 1 else 16)


def test_tiles_are_on_where_they_are_asked_for(tiny_open: SimpleNamespace) -> None:
    """Every family's VAE can; a clip smaller than a tile is the same."""
    tiled = opened(tiny_open, "cpu", torch.float32, tile_vae=True)
    assert tiled.vae.use_tiling and not tiny_open.family.vae.use_tiling
    latents = tiled.init_latents(tiny_open.model.request, [generator_for(1)])
    apart = np.abs(tiled.decode(latents).astype(int) - tiny_open.family.decode(latents))
    assert apart.max() <= 1
