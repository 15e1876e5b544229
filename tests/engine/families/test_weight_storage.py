"""Weights in 8 bits and blocks on the CPU: the same numbers as a network that is stored as usual."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.hooks import group_offloading
from torch import Tensor

from engine.config.model_availability import model_state
from engine.config.presets import load_model_preset
from engine.errors import FamilyError
from engine.families.registry import family_class, open_model
from engine.hardware import weight_storage
from engine.hardware.weight_storage import eight_bit_layers
from engine.seeds import generator_for
from engine.training.gradient_checkpointing import set_block_checkpointing
from engine.training.weights import ADAPTER, setup_lora, trainable

MOST_INT8_ERROR = 0.02
"""Largest difference of a prediction with int8, relative to its norm; measured: 0.2 to 0.8 %."""
EACH_KIND = pytest.mark.parametrize(
    "tiny", ["wan_experts", "ltx", "ltx2", "cogvideox", "hunyuanvideo", "animatediff"], indirect=True
)


def opened(tiny: SimpleNamespace, **options: Any) -> Any:
    family = family_class(tiny.model.family)(str(tiny.folder), replace(tiny.options, **options))
    family.load("cpu", torch.float32)
    return family


def predicted(family: Any, tiny: SimpleNamespace, level: float = 0.5) -> Tensor:
    model = tiny.model
    given = family.encode_pictures(model.pictures(1), model.places, model.request.num_frames) if model.places else {}
    words = replace(family.encode(["a red circle"]), fps=model.request.fps, guidance=6.0)
    words = replace(words, extras={**(words.extras or {}), **given})
    return family.predict(family.init_latents(model.request, [generator_for(1)]), torch.tensor([level]), words)


def round_to_float8(family: Any) -> None:
    """Round a network's weights as storage in float8 does."""
    for layer in eight_bit_layers(family.network, family.spec.block_classes):
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(torch.float8_e4m3fn).to(parameter.dtype)


def add_lora(family: Any) -> None:
    """An adapter that is not at its start, where it has no effect."""
    setup_lora(family.network, family.spec.lora_targets, rank=2, alpha=None, seed=3)
    for number, (_, parameter) in enumerate(trainable(family.network)):
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))


@EACH_KIND
@torch.no_grad()
def test_float8_computes_with_rounded_weights(tiny: SimpleNamespace) -> None:
    """Exactly, at both experts' levels; and the blocks take a quarter of the memory of float32."""
    stored, plain = opened(tiny, weights="float8"), opened(tiny)
    layers = list(eight_bit_layers(stored.network, stored.spec.block_classes))
    assert layers and all(layer.weight.dtype == torch.float8_e4m3fn for layer in layers)
    exact = predicted(plain, tiny)
    round_to_float8(plain)
    for level in (0.95, 0.2):
        assert torch.equal(predicted(stored, tiny, level), predicted(plain, tiny, level))
    assert not torch.equal(predicted(stored, tiny), exact)
    assert all(layer.weight.dtype == torch.float8_e4m3fn for layer in layers)


@EACH_KIND
def test_an_adapter_on_float8_learns_as_on_rounded_weights(tiny: SimpleNamespace) -> None:
    """The adapter is of full precision, and its gradients are those of a plain network with checkpoints."""
    gradients = []
    for is_stored in (True, False):
        family = opened(tiny, weights="float8" if is_stored else "full")
        if not is_stored:
            round_to_float8(family)
        add_lora(family)
        set_block_checkpointing(family.network, family.spec.block_classes, on=True)
        assert all(parameter.dtype == torch.float32 for _, parameter in trainable(family.network))
        predicted(family, tiny).pow(2).mean().backward()
        gradients.append({name: p.grad for name, p in trainable(family.network) if p.grad is not None})
    ours, plain = gradients
    assert ours.keys() == plain.keys() and any(gradient.abs().max() > 0 for gradient in ours.values())
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-5, atol=1e-7, msg=name)


@EACH_KIND
@torch.no_grad()
def test_offloaded_blocks_predict_the_same(tiny: SimpleNamespace) -> None:
    """On a CPU both places are the same memory: what is tested are the hooks, not their speed."""
    waiting, plain = opened(tiny, offload_blocks=True), opened(tiny)
    assert any(hasattr(module, "_diffusers_hook") for module in waiting.network.modules())
    for level in (0.95, 0.2):
        assert torch.equal(predicted(waiting, tiny, level), predicted(plain, tiny, level))


@pytest.mark.parametrize("options", [{"weights": "float8"}, {"offload_blocks": True}])
@pytest.mark.parametrize("tiny", ["wan_experts", "ltx"], indirect=True)
@torch.no_grad()
def test_an_adapter_is_loaded_onto_stored_weights(
    tiny: SimpleNamespace, options: dict[str, Any], tmp_path: Any
) -> None:
    """As Generate does: read from its files, used, and taken away again."""
    from engine.families.lora import activate_adapter, save_adapter

    maker = opened(tiny)
    add_lora(maker)
    save_adapter(maker.network, ADAPTER, tmp_path)
    stored, plain = opened(tiny, **options), opened(tiny)
    if "weights" in options:
        round_to_float8(plain)
    base = predicted(plain, tiny)
    for family in (stored, plain):
        activate_adapter(family.network, "mine", tmp_path)
    assert torch.equal(predicted(stored, tiny), predicted(plain, tiny))
    assert not torch.equal(predicted(stored, tiny), base)
    activate_adapter(stored.network, None)
    assert torch.equal(predicted(stored, tiny), base)


class Stream:
    """A stream of a GPU, and the place of streams, as far as the hooks use them on a CPU."""

    def __init__(self, *device: Any) -> None:
        pass

    def Stream(self) -> "Stream":
        return self

    def stream(self, stream: "Stream") -> Any:
        return nullcontext()

    def current_stream(self) -> "Stream":
        return self

    def synchronize(self) -> None:
        pass


@pytest.mark.parametrize("tiny", ["wan_experts", "ltx"], indirect=True)
@torch.no_grad()
def test_adapters_go_onto_blocks_that_are_loaded_by_a_stream(
    tiny: SimpleNamespace, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such blocks keep a copy of each tensor on the CPU, which must include the adapter's."""
    from engine.families.lora import activate_adapter, load_adapter, save_adapter, unload_adapter

    maker = opened(tiny)
    add_lora(maker)
    save_adapter(maker.network, ADAPTER, tmp_path)
    stored, plain = opened(tiny, offload_blocks=True), opened(tiny)
    monkeypatch.setattr(group_offloading, "TorchDeviceBackend", Stream)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *device: self)
    monkeypatch.setattr(Tensor, "is_pinned", lambda self, *device: True)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: None)
    for network in [getattr(stored.network, name) for name in getattr(stored.network, "experts", ())] or [
        stored.network
    ]:
        hook = group_offloading._get_top_level_group_offload_hook(network)
        assert hook is not None
        hook.config.stream = Stream()
        group_offloading._maybe_remove_and_reapply_group_offloading(network)
    groups = offloaded(stored.network)
    base = predicted(plain, tiny)
    assert torch.equal(predicted(stored, tiny), base)
    for family in (stored, plain):
        activate_adapter(family.network, "mine", tmp_path)
    assert torch.equal(predicted(stored, tiny), predicted(plain, tiny))
    assert not torch.equal(predicted(stored, tiny), base)
    unload_adapter(stored.network, "mine")
    assert torch.equal(predicted(stored, tiny), base) and offloaded(stored.network) == groups
    load_adapter(stored.network, "mine", tmp_path)
    assert torch.equal(predicted(stored, tiny), predicted(plain, tiny))


def offloaded(network: Any) -> set[str]:
    """Return the names of the modules that are loaded on their own."""
    hooks = {name: getattr(module, "_diffusers_hook", None) for name, module in network.named_modules()}
    return {name for name, hook in hooks.items() if hook is not None and hook.get_hook("group_offloading")}


@pytest.mark.parametrize("tiny", ["wan_experts", "ltx", "animatediff"], indirect=True)
def test_int8_is_near_full_precision_and_its_adapter_learns_as_on_rounded_weights(
    tiny: SimpleNamespace, tmp_path: Any
) -> None:
    """Products differ from those of the rounded weights by rounding alone; the blocks take a quarter of float32."""
    pytest.importorskip("torchao", reason="the extra `quantization` is not installed")
    from engine.families.lora import activate_adapter, save_adapter

    stored, plain, rounded = opened(tiny, weights="int8"), opened(tiny), opened(tiny)
    layers: list[Any] = list(eight_bit_layers(stored.network, stored.spec.block_classes))
    assert layers and all(layer.weight.qdata.dtype == torch.int8 for layer in layers)
    for layer, whole in zip(layers, eight_bit_layers(rounded.network, stored.spec.block_classes), strict=True):
        whole.weight.data = layer.weight.dequantize()
    with torch.no_grad():
        exact, near, ours = (predicted(family, tiny) for family in (plain, rounded, stored))
    torch.testing.assert_close(ours, near, rtol=1e-4, atol=1e-5)
    assert 0 < (ours - exact).norm() / exact.norm() < MOST_INT8_ERROR
    gradients = []
    for family in (stored, rounded):
        add_lora(family)
        set_block_checkpointing(family.network, family.spec.block_classes, on=True)
        predicted(family, tiny).pow(2).mean().backward()
        gradients.append({name: p.grad for name, p in trainable(family.network) if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-6, msg=name)
    save_adapter(stored.network, ADAPTER, tmp_path)
    again = opened(tiny, weights="int8")
    with torch.no_grad():
        activate_adapter(again.network, "mine", tmp_path)
        torch.testing.assert_close(predicted(again, tiny), predicted(stored, tiny))
        activate_adapter(again.network, None)
        assert torch.equal(predicted(again, tiny), ours)


def test_int8_without_its_library_is_refused_in_a_sentence(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_storage, "INT8_LIBRARY", "library_that_is_not_here")
    preset = load_model_preset(tiny_model).model_copy(update={"weights": "int8"})
    with pytest.raises(
        FamilyError,
        match=r"is not installed: `pip install -e '.\[quantization\]'` in the clone of Dailies, or set weights",
    ):
        open_model(preset, "cpu")
    state = model_state(preset)
    assert state.status == "incompatible" and "weights = 'float8'" in state.reason
