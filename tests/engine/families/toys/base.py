"""Parts of toy models. The configurations follow the pipeline tests of diffusers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.request import GenerationRequest
from engine.seeds import generator_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Context of the builders. `fill(network, seed)` sets the weights and returns the network."""

    fill: Callable[[Any, int], Any]
    tokenizer: Any


def save_whole(pipeline: Any, folder: Path, kit: Kit) -> dict[str, str]:
    pipeline.save_pretrained(folder)
    return {}


def as_it_is(latents: Any) -> Any:
    return latents


def swap_frames_and_channels(latents: Any) -> Any:
    return latents.transpose(1, 2)


def give_latents(latents: Any, seed: int) -> dict[str, Any]:
    return {"latents": latents}


def give_generator(latents: Any, seed: int) -> dict[str, Any]:
    """For pipelines that take no latents: they draw the same noise themselves."""
    return {"generator": generator_for(seed)}


def give_guidance(pipeline: Any, guidance: float) -> dict[str, Any]:
    return {"guidance_scale": guidance}


def show_nothing(pictures: Any, places: Any, request: GenerationRequest) -> dict[str, Any]:
    return {}


def encode_t5(pipeline: Any, prompts: list[str], length: int) -> dict[str, Any]:
    options = {"do_classifier_free_guidance": False, "max_sequence_length": length}
    return {"prompt_embeds": pipeline.encode_prompt(prompts, **options)[0]}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """A family at toy size.

    `build` creates the pipeline of diffusers. `save` writes the folder that our family reads and returns the parts in
    other folders. `reorder` converts between our order of dimensions and theirs, in both directions. `encode` returns
    the embeddings of the pipeline by the names of its arguments (`encode_negative` those of negative prompts, if they
    are encoded otherwise), `frames` names its number of frames, `start` its noise, `guide` its guidance, `finish` our
    latents from its own.

    With pictures at `places`, `show` returns the arguments of the pipeline for those of one clip. `one_by_one` is True
    if the pipeline generates one clip per call. `further` holds other arguments. `scheduler` overrides values of the
    folder's scheduler, as a preset does.
    """

    family: str
    build: Callable[[Kit], Any]
    request: GenerationRequest
    encode: Callable[[Any, list[str]], dict[str, Any]]
    encode_negative: Callable[[Any, list[str]], dict[str, Any]] | None = None
    save: Callable[[Any, Path, Kit], dict[str, str]] = save_whole
    reorder: Callable[[Any], Any] = as_it_is
    start: Callable[[Any, int], dict[str, Any]] = give_latents
    guide: Callable[[Any, float], dict[str, Any]] = give_guidance
    finish: Callable[[Any], Any] = as_it_is
    places: tuple[int, ...] = ()
    show: Callable[[np.ndarray, tuple[int, ...], GenerationRequest], dict[str, Any]] = show_nothing
    further: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    one_by_one: bool = False
    context_frames: int = 0
    frames: str = "num_frames"

    def pictures(self, count: int) -> np.ndarray:
        """`uint8[count,N,H,W,3]`, other ones for each clip."""
        shape = (count, len(self.places), self.request.height, self.request.width, 3)
        return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def request(num_frames: int, size: int = 32) -> GenerationRequest:
    return GenerationRequest(prompt="x", num_frames=num_frames, width=size, height=size, num_steps=4)


def t5(kit: Kit, config: Any, model: Any) -> Any:
    return kit.fill(model(config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=32)), 2)


def clip_text(kit: Kit) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=8, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, vocab_size=32, projection_dim=8
    )
    return kit.fill(CLIPTextModel(config), 3)


def as_images(pictures: np.ndarray) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(picture) for picture in pictures]
