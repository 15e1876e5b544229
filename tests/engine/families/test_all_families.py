"""What holds for every family: its steps are those of its own diffusers pipeline, and it does what callers rely on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import FamilyError
from engine.families.lora import activate_adapter, load_adapter, save_adapter
from engine.families.registry import FAMILIES, family_spec
from engine.family_interface import Conditioning
from engine.generation.given_pictures import picture_extras
from engine.generation.previews import FRAMES, LONGEST_PX, fit_colours, picture
from engine.sampling.sampler import DenoiseStep, denoise, guided_prediction, take_step
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.sampling.steps import ddim_step, sde_step
from engine.seeds import generator_for
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.rollout.rollouts import generate_rollouts

# LTXConditionPipeline hands a tensor to numpy in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PROMPTS = ["a red circle moving right", "the blue star over a meadow"]
SEEDS = (3, 4)


def start(family: Any, model: Any, seeds: tuple[int, ...] = SEEDS) -> SimpleNamespace:
    request = model.request
    latents = family.init_latents(request, [generator_for(seed) for seed in seeds])
    given = family.encode_pictures(model.pictures(len(seeds)), model.places, request.num_frames) if model.places else {}
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, num_tokens(latents, given))

    def encoded(words: Conditioning) -> Conditioning:
        return replace(words, fps=request.fps, extras={**(words.extras or {}), **given})

    return SimpleNamespace(
        latents=latents,
        sigmas=sigmas,
        conditioning=encoded(family.encode(PROMPTS[: len(seeds)])),
        negative=encoded(family.encode_negative([""] * len(seeds))),
    )


def walk(family: Any, begin: SimpleNamespace, guidance: float = 1.0) -> list[DenoiseStep]:
    steps = denoise(family, begin.latents, begin.sigmas, begin.conditioning, negative=begin.negative, guidance=guidance)
    return list(steps)


def walked(tiny: SimpleNamespace, guidance: float = 1.0) -> tuple[SimpleNamespace, list[DenoiseStep]]:
    """Where the two clips begin, and their steps; made once for all tests of an entry."""
    known = tiny.__dict__.setdefault("walks", {})
    if guidance not in known:
        begin = start(tiny.family, tiny.model)
        known[guidance] = begin, walk(tiny.family, begin, guidance)
    return known[guidance]


def theirs(tiny: SimpleNamespace, latents: Any, guidance: float, output: str = "latent", order: int | None = 1) -> Any:
    """Result of the pipeline's own call for the same noise, prompts and pictures: latents in our order of dimensions,
    or frames `[B,T,H,W,3]` in 0..1. `order`: see `toys/steps.py`.
    """
    rows = [slice(row, row + 1) for row in range(len(latents))] if tiny.model.one_by_one else [slice(len(latents))]
    with tiny.of_order(tiny.pipeline, order):
        made = [torch.as_tensor(called(tiny, latents, guidance, output, some)) for some in rows]
    return torch.cat(made) if output == "np" else tiny.model.reorder(tiny.model.finish(torch.cat(made)))


def called(tiny: SimpleNamespace, latents: Any, guidance: float, output: str, rows: slice) -> Any:
    model, request = tiny.model, tiny.model.request
    arguments = model.encode(tiny.pipeline, PROMPTS[rows])
    if guidance > 1 and not family_spec(model.family).embedded_guidance:
        nothing = (model.encode_negative or model.encode)(tiny.pipeline, [""] * len(PROMPTS[rows]))
        arguments |= {f"negative_{name}": value for name, value in nothing.items()}
    if model.places:
        arguments |= model.show(model.pictures(len(latents))[rows][0], model.places, request)
    return tiny.pipeline(
        **arguments,
        **model.further,
        **model.start(model.reorder(latents[rows]), SEEDS[rows.start or 0]),
        width=request.width,
        height=request.height,
        **{model.frames: request.num_frames},
        num_inference_steps=request.num_steps,
        **model.guide(tiny.pipeline, guidance),
        output_type=output,
    ).frames


@pytest.mark.double("parity")
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_final_latents_are_the_pipelines(tiny_open: SimpleNamespace, guidance: float) -> None:
    """Two clips of two prompts, over the pipeline's own schedule, from text to latents."""
    begin, steps = walked(tiny_open, guidance)
    ours = steps[-1].next_latents
    wanted = theirs(tiny_open, begin.latents, guidance)
    assert ours.shape == begin.latents.shape and (ours - begin.latents).std() > 0.1
    assert (ours - wanted).abs().max() <= 1e-4


@pytest.mark.double("parity")
def test_networks_are_told_the_pipelines_timesteps(tiny_open: SimpleNamespace) -> None:
    """At every step, whatever kind of number the pipeline's scheduler makes of them (UniPC: integers)."""
    request = tiny_open.model.request.model_copy(update={"num_steps": 8})
    model = replace(tiny_open.model, request=request)
    begin, pipeline = start(tiny_open.family, model, SEEDS[:1]), tiny_open.pipeline
    theirs_told, ours_told = [], []
    one_step = tiny_open.of_order(pipeline, 1)
    with listening(parts_of(pipeline, "transformer", "transformer_2", "unet"), theirs_told), one_step:
        called(SimpleNamespace(model=model, pipeline=pipeline), begin.latents, 1.0, "latent", slice(1))
    network = tiny_open.family.network
    with listening(parts_of(network, "high_noise", "low_noise") or [network], ours_told):
        walk(tiny_open.family, begin)
    assert len(ours_told) == 8 and ours_told == theirs_told


def parts_of(whole: Any, *names: str) -> list[Any]:
    return [part for name in names if (part := getattr(whole, name, None)) is not None]


@contextmanager
def listening(networks: list[Any], told: list[float]) -> Iterator[None]:
    """Appends the highest timestep of each call of the networks to `told`."""

    def hear(network: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        told.append(float(torch.as_tensor(named["timestep"] if "timestep" in named else inputs[1]).max()))

    hooks = [one.register_forward_pre_hook(hear, with_kwargs=True) for one in networks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
@pytest.mark.parametrize("num_steps", [8, 20])
def test_eulers_steps_come_near_wans_second_order(tiny_open: SimpleNamespace, num_steps: int) -> None:
    """The cost of stepping by Euler where Wan's repository sets UniPC to order 2 with a corrector: on these random
    weights an RMS difference of 0.101 at 8 and 0.104 at 20 steps, for latents of std 1.43 and 1.47.
    """
    model = replace(tiny_open.model, request=tiny_open.model.request.model_copy(update={"num_steps": num_steps}))
    begin, pipeline = start(tiny_open.family, model), tiny_open.pipeline
    tiny = SimpleNamespace(model=model, pipeline=pipeline, of_order=tiny_open.of_order)
    ours = walk(tiny_open.family, begin)[-1].next_latents
    first, second = (theirs(tiny, begin.latents, 1.0, order=order) for order in (1, None))
    assert (ours - first).abs().max() <= 1e-5
    assert 0.05 < (ours - second).square().mean().sqrt() < 0.15


MESSY = [
    "  a “red”  circle &amp;amp; ﬂag of Ｆｕｌｌ width ",
    "a\tblue\nstar &lt;b&gt; {0}",
    "a cafÃ© — left… over",
    "",
]


@pytest.mark.double("parity")
def test_prompts_are_cleaned_as_the_pipelines_are(tiny_open: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text that reaches a tokenizer: quotes, HTML entities, mojibake, white space, braces."""
    from transformers import PreTrainedTokenizerFast

    read: list[str] = []
    plain = PreTrainedTokenizerFast.__call__

    def listen(tokenizer: Any, text: Any, *others: Any, **named: Any) -> Any:
        read.extend([text] if isinstance(text, str) else text)
        return plain(tokenizer, text, *others, **named)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", listen)
    tiny_open.family.encode(MESSY)
    ours, read[:] = set(read), []
    if "free_noise" in str(tiny_open.folder):
        tiny_open.pipeline.encode_prompt(MESSY, "cpu", 1, False)
    else:
        tiny_open.model.encode(tiny_open.pipeline, MESSY)
    assert len(ours) >= len(MESSY) and ours == set(read)


def test_guidance_and_prompts_matter(tiny_open: SimpleNamespace) -> None:
    """Weak embeddings would let the comparison above pass without any prompt."""
    plain, guided = (walked(tiny_open, guidance)[1][-1].next_latents for guidance in (1.0, 3.0))
    assert (plain - guided).abs().max() > 1e-3
    begin, _ = walked(tiny_open)
    swapped = SimpleNamespace(**{**vars(begin), "conditioning": begin.conditioning.rows([1, 0])})
    assert (walk(tiny_open.family, swapped)[-1].next_latents - plain).abs().max() > 1e-3


@pytest.mark.double("pictures")
@pytest.mark.toys(lambda model: model.places)
def test_given_pictures_matter(tiny_open: SimpleNamespace) -> None:
    """Each of them, and at which frame it is: one that is overlooked would be seen in the comparison above."""
    model, family = tiny_open.model, tiny_open.family
    begin, pictures = start(family, model), model.pictures(2)

    def predicted(shown: np.ndarray) -> torch.Tensor:
        given = family.encode_pictures(shown, model.places, model.request.num_frames)
        told = replace(begin.conditioning, extras={**begin.conditioning.extras, **given})
        return family.predict(begin.latents, torch.tensor([0.5, 0.5]), told)

    base = predicted(pictures)
    for index in range(len(model.places)):
        changed = pictures.copy()
        changed[:, index] = 255 - changed[:, index]
        assert (predicted(changed) - base).abs().max() > 3e-4
    if len(model.places) > 1:
        assert (predicted(pictures[:, ::-1].copy()) - base).abs().max() > 3e-4


@pytest.mark.double("parity")
def test_frames_are_the_pipelines(tiny_open: SimpleNamespace) -> None:
    begin, steps = walked(tiny_open)
    ours = tiny_open.family.decode(steps[-1].next_latents)
    request = tiny_open.model.request
    assert ours.shape == (2, request.num_frames, request.height, request.width, 3) and ours.dtype == np.uint8
    wanted = np.round(np.asarray(theirs(tiny_open, begin.latents, 1.0, output="np")) * 255)
    assert ours.std() > 1
    assert np.abs(ours - wanted).max() <= 1


@pytest.mark.alike
def test_frames_become_latents_of_the_same_shape_and_space(tiny_open: SimpleNamespace) -> None:
    """Decoding what was encoded is encoding's near-inverse only for trained VAEs; scale and order are exact here."""
    request = tiny_open.model.request
    shape = (2, request.num_frames, request.height, request.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    latents = tiny_open.family.encode_frames(frames)
    noise = tiny_open.family.init_latents(request, [generator_for(1), generator_for(2)])
    assert latents.shape == noise.shape and latents.dtype == torch.float32
    assert torch.allclose(latents[1:], tiny_open.family.encode_frames(frames[1:]), atol=1e-4)


@pytest.mark.alike
def test_a_step_has_a_preview_in_colours(tiny_open: SimpleNamespace) -> None:
    step = walked(tiny_open)[1][0]
    shown = picture(tiny_open.family, step, fit_colours(tiny_open.family))
    height, width = shown.shape[0] // FRAMES, shown.shape[1] // len(SEEDS)
    assert max(height, width) == LONGEST_PX and height / width == pytest.approx(
        step.latents.shape[3] / step.latents.shape[4], abs=0.02
    )
    assert shown.std() > 1 and np.ptp(shown.astype(int), axis=2).max() > 1


def test_a_clip_does_not_depend_on_its_batch(tiny_open: SimpleNamespace) -> None:
    (both, many), alone = walked(tiny_open, 3.0), start(tiny_open.family, tiny_open.model, SEEDS[:1])
    assert torch.equal(both.latents[:1], alone.latents)
    one = walk(tiny_open.family, alone, 3.0)[-1].next_latents
    assert (many[-1].next_latents[:1] - one).abs().max() <= 1e-4


def test_each_clip_may_have_a_noise_level_of_its_own(tiny_open: SimpleNamespace) -> None:
    """As training draws them; for two experts, one clip goes to each."""
    begin = start(tiny_open.family, tiny_open.model)
    conditioning = replace(begin.conditioning, guidance=1.0)
    levels = torch.tensor([float(begin.sigmas[0]), float(begin.sigmas[-2])])
    both = tiny_open.family.predict(begin.latents, levels, conditioning)
    for row in (0, 1):
        one = slice(row, row + 1)
        alone = tiny_open.family.predict(begin.latents[one], levels[one], conditioning.rows(one))
        assert (both[one] - alone).abs().max() <= 1e-4


def test_replayed_log_probs_have_ratio_one(tiny_open: SimpleNamespace) -> None:
    """By Flow-GRPO's SDE, or DDIM with eta where no flow is predicted; guided, from stored latents."""
    family, begin = tiny_open.family, start(tiny_open.family, tiny_open.model)
    of = family.spec.prediction
    step = partial(sde_step, noise_level=0.5) if of == "flow" else partial(ddim_step, eta=0.7, prediction_type=of)
    guided = {"negative": begin.negative, "guidance": 2.0}
    generators = [generator_for(1), generator_for(2)]
    taken = denoise(family, begin.latents, begin.sigmas, begin.conditioning, step=step, generators=generators, **guided)
    random = [one for one in taken if one.log_prob is not None]
    assert len(random) == tiny_open.model.request.num_steps - 1, "all but the last"
    for one in random:
        prediction = guided_prediction(family, one.latents, one.sigma, begin.conditioning, **guided)
        pair = (one.sigma, one.sigma_next, begin.conditioning)
        again = take_step(step, prediction, one.latents, *pair, next_latents=one.next_latents)
        assert ((again.log_prob - one.log_prob).exp() - 1).abs().max() <= 1e-5


def test_a_rollout_goes_the_way_of_generation(tiny_open: SimpleNamespace) -> None:
    """For noise predictors, too, and from pictures: evaluations, samples and trained clips are what Generate makes."""
    family, model = tiny_open.family, tiny_open.model
    shown = dict(zip(("0" * 64, "1" * 64), model.pictures(1)[0][[0, -1]] if model.places else (), strict=False))
    given = {"image": "0" * 64} if 0 in model.places else {}
    given |= {"last_image": "1" * 64} if family.spec.requires_last_image else {}
    base = model.request.model_copy(update={"prompt": PROMPTS[0], "guidance": 2.0, **given})
    wanted = [base.with_seed(seed) for seed in SEEDS]
    prompts = PromptEmbeddings(family, model.request.fps, load=shown.__getitem__)
    made = generate_rollouts(family, wanted, prompts, decode=False)
    latents = family.init_latents(wanted[0], [generator_for(seed) for seed in SEEDS])
    pictures = picture_extras(family, wanted, shown.__getitem__)
    sigmas = sigmas_for(family.scheduler_config, wanted[0].num_steps, num_tokens(latents, pictures))

    def words(encode: Any, prompt: str) -> Conditioning:
        row = replace(encode([prompt]), fps=model.request.fps)
        both = row.concat(row)
        return replace(both, extras={**(both.extras or {}), **pictures})

    positive, negative = words(family.encode, PROMPTS[0]), words(family.encode_negative, "")
    steps = denoise(family, latents, sigmas, positive, negative=negative, guidance=2.0)
    assert torch.equal(made.latents, list(steps)[-1].next_latents)


@pytest.mark.alike
def test_stopping_after_a_step_runs_no_further_one(tiny_open: SimpleNamespace) -> None:
    family, begin = tiny_open.family, start(tiny_open.family, tiny_open.model, SEEDS[:1])
    calls: list[tuple[int, ...]] = []
    handle = family.network.register_forward_pre_hook(lambda network, inputs: calls.append(()))
    steps = denoise(family, begin.latents, begin.sigmas, begin.conditioning)
    try:
        for step in steps:
            if step.index == 1:
                steps.close()
    finally:
        handle.remove()
    assert len(calls) == 2 < tiny_open.model.request.num_steps


@pytest.mark.alike
def test_an_adapter_on_off_and_misfitting(tiny_open: SimpleNamespace, tmp_path: Path) -> None:
    from peft import LoraConfig

    family = tiny_open.open()
    begin = start(family, tiny_open.model)
    base = walk(family, begin)[-1].next_latents
    config = LoraConfig(r=2, lora_alpha=8, target_modules=list(family.spec.lora_targets), init_lora_weights=False)
    torch.manual_seed(0)
    family.network.add_adapter(config, adapter_name="made")
    made = walk(family, begin)[-1].next_latents
    save_adapter(family.network, "made", tmp_path / "made")
    activate_adapter(family.network, None)
    assert torch.equal(walk(family, begin)[-1].next_latents, base)
    again = tiny_open.open()
    activate_adapter(again.network, "made", tmp_path / "made")
    adapted = walk(again, begin)[-1].next_latents
    assert torch.allclose(adapted, made, atol=1e-5) and (adapted - base).abs().max() > 1e-3
    with pytest.raises(FamilyError, match=r"does not fit this model: '.*' is for size 3, the layer has"):
        spoil(tmp_path / "made", tmp_path / "other")
        load_adapter(again.network, "other", tmp_path / "other")


def spoil(folder: Path, copy: Path) -> None:
    """A copy of an adapter that was trained on a network of another width."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    copy.mkdir()
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        wrong = {key: value[:, :3].contiguous() if ".lora_A" in key else value for key, value in tensors.items()}
        save_file(wrong, copy / file.name, metadata=metadata)


@pytest.mark.alike
def test_shapes_that_the_model_cannot_make_are_refused(tiny_open: SimpleNamespace) -> None:
    request = tiny_open.model.request
    bad = [request.model_copy(update={"width": request.width + 1})]
    if tiny_open.family.spec.frame_stride > 1:
        bad.append(request.model_copy(update={"num_frames": request.num_frames + 1}))
    for one in bad:
        with pytest.raises(FamilyError, match=r"This model needs .* but the request has"):
            tiny_open.family.init_latents(one, [generator_for(1)])


def test_every_registered_family_is_here(tiny_names: dict[str, Any]) -> None:
    assert {model.family for model in tiny_names.values()} == set(FAMILIES)
    for model in tiny_names.values():
        assert bool(model.places) <= family_spec(model.family).takes_image
