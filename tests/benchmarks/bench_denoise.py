"""`denoise` against diffusers' own pipelines: same weights, noise, embeddings, steps and guidance; no decoding.

`mini` against LTXPipeline, and every other family at toy size (the tests' own models, larger clips) against its own:
the two run in turn, the order swapped from pair to pair, and the figure is the median ratio. Bar: 1.05.

    python tests/benchmarks/bench_denoise.py [mini wan ...]
"""

import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline
from measurement import report
from transformers import PreTrainedTokenizerFast

from engine.config.presets import load_preset
from engine.families.registry import family_class, family_spec, open_model
from engine.family_interface import FamilyOptions
from engine.request import GenerationRequest
from engine.sampling.sampler import denoise
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for

BAR = 1.05
SAME = 1e-3
GUIDANCE = 3.0
NUM_PAIRS = 15
TESTS = Path(__file__).parents[1] / "engine"
REQUEST = GenerationRequest(prompt="a blue star bouncing in the desert", num_frames=33, num_steps=20, guidance=3.0)
Call = Callable[[], torch.Tensor]


def seconds(call: Call) -> tuple[float, float]:
    """Wall clock and processor time; on a machine that is busy with other things only the second means much."""
    began, cpu_began = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cpu_began


def compare(name: str, ours: Call, theirs: Call) -> bool:
    """Print the ratio of the two, and how far their results are apart; whether it is within the bar."""
    seconds(ours), seconds(theirs)
    ratios = []
    for pair in range(NUM_PAIRS):
        first, second = (ours, theirs) if pair % 2 else (theirs, ours)
        times = {first: seconds(first), second: seconds(second)}
        ratios.append([mine / other for mine, other in zip(times[ours], times[theirs], strict=True)])
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    difference = float((ours() - theirs()).abs().max())
    if not difference <= SAME:
        raise RuntimeError(f"{name}: the two sides differ by {difference}, so that their times say nothing")
    return report(f"denoise_vs_{name}", wall, "ratio", bar=BAR, cpu_ratio=round(cpu, 4), max_abs_difference=difference)


def our_call(family: Any, request: GenerationRequest) -> tuple[Call, SimpleNamespace]:
    """Our side, and what the other side must be given."""
    prompt, negative = (replace(family.encode([text]), fps=request.fps) for text in (request.prompt, ""))
    noise = family.init_latents(request, [generator_for(request.seed)])
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, noise[0, 0].numel())

    def ours() -> torch.Tensor:
        *_, last = denoise(family, noise, sigmas, prompt, negative=negative, guidance=request.guidance)
        return last.next_latents

    return ours, SimpleNamespace(prompt=prompt, negative=negative, noise=noise)


def common(request: GenerationRequest) -> dict[str, Any]:
    """What every pipeline's call is told."""
    size = {"num_frames": request.num_frames, "width": request.width, "height": request.height}
    steps = {"num_inference_steps": request.num_steps, "guidance_scale": request.guidance}
    return {**size, **steps, "output_type": "latent"}


def bench_mini() -> bool:
    family = open_model(load_preset("models", REQUEST.model), device="cpu")
    ours, given = our_call(family, REQUEST)
    pipeline = LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_config(family.scheduler_config),
        vae=family.vae,
        text_encoder=family.text_encoder,
        tokenizer=family.tokenizer,
        transformer=family.network,
    )
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> torch.Tensor:
        tokens = pipeline(
            prompt_embeds=given.prompt.embeds,
            prompt_attention_mask=given.prompt.mask,
            negative_prompt_embeds=given.negative.embeds,
            negative_prompt_attention_mask=given.negative.mask,
            latents=given.noise.flatten(2).transpose(1, 2),
            frame_rate=REQUEST.fps,
            **common(REQUEST),
        ).frames
        return tokens.transpose(1, 2).unflatten(2, given.noise.shape[2:])

    return compare("mini", ours, theirs)


def bench_toy(name: str, toys: Any, parity: dict[str, Any], write: dict[str, Any]) -> bool:
    """One entry of the tests' toy models, on a clip that keeps its network busy for some milliseconds a step.

    Both sides are those of the tests that hold our latents against the pipeline's. A pipeline that is given pictures
    encodes them in its call, so that our side does it too.
    """
    model = toys.MODELS[name]
    model = replace(model, request=larger(model))

    def fill(network: Any, seed: int) -> Any:
        write["fill"](network, seed)
        return network.eval()

    with tempfile.TemporaryDirectory() as folder:
        write["make_tokenizer"](Path(folder) / "words")
        kit = toys.Kit(fill=fill, tokenizer=PreTrainedTokenizerFast.from_pretrained(Path(folder) / "words"))
        pipeline = model.build(kit)
        pipeline.set_progress_bar_config(disable=True)
        parts = model.save(pipeline, Path(folder) / "model", kit)
        options = FamilyOptions(parts=parts, context_frames=model.context_frames)
        family = family_class(model.family)(str(Path(folder) / "model"), options)
        family.load("cpu", torch.float32)
    tiny = SimpleNamespace(model=model, pipeline=pipeline)
    begin = parity["start"](family, model, parity["SEEDS"][:1])

    def ours() -> torch.Tensor:
        if model.places:
            family.encode_pictures(model.pictures(1), model.places, model.request.num_frames)
        return parity["walk"](family, begin, GUIDANCE)[-1].next_latents

    return compare(name, ours, lambda: parity["theirs"](tiny, begin.latents, GUIDANCE))


def larger(model: Any) -> GenerationRequest:
    """The toy's request with more pixels, steps and, where no picture says which frames there are, more frames."""
    strided = family_spec(model.family).frame_stride > 1
    size = 64 if strided else 32  # where every frame has latents of its own there are many more of them
    frames = {} if model.places or model.context_frames else {"num_frames": 16 + strided}
    return model.request.model_copy(update={"width": size, "height": size, "num_steps": 10, **frames})


def main(wanted: list[str]) -> int:
    families, write = (runpy.run_path(str(TESTS / path)) for path in ("families/conftest.py", "conftest.py"))
    parity = runpy.run_path(str(TESTS / "families/test_all_families.py"))
    benches: dict[str, Callable[[], bool]] = {"mini": bench_mini}
    benches |= {
        name: lambda name=name: bench_toy(name, families["TOYS"], parity, write) for name in families["TOYS"].MODELS
    }
    results = [bench() for name, bench in benches.items() if not wanted or name in wanted]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
