"""The LTX families on toy models: what it loads, what it refuses, and that its pieces are diffusers' own."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.presets import load_model_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, FamilyError
from engine.families.registry import FAMILIES, family_class, family_spec, open_model
from engine.request import GenerationRequest
from engine.sampling.sampler import denoise
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for

PROMPT = "a red circle moving right"
REQUEST = GenerationRequest(prompt=PROMPT, num_frames=17, width=64, height=48)


@pytest.fixture
def broken(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the toy model, to damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def load(folder: Path | str) -> Any:
    from engine.families.ltx import LTXFamily

    family = LTXFamily(str(folder))
    family.load("cpu", torch.float32)
    return family


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> str:
    """Change the transformer's tensors on disk; returns the name of its first one."""
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return next(iter(tensors))


def test_noise_has_the_latents_shape_and_each_clip_its_own(tiny_family: Any) -> None:
    noise = tiny_family.init_latents(REQUEST, [generator_for(1), generator_for(2)])
    assert noise.shape == (2, 8, 3, 3, 4) and noise.dtype == torch.float32
    assert torch.equal(noise[1:], tiny_family.init_latents(REQUEST, [generator_for(2)]))


@pytest.mark.parametrize("field", [{"num_frames": 16}, {"width": 72}, {"height": 40}])
def test_the_loaded_vae_says_which_shapes_fit(tiny_family: Any, field: dict[str, int]) -> None:
    with pytest.raises(FamilyError, match=r"needs 8k\+1 frames and sides that are multiples of 16 px"):
        tiny_family.init_latents(REQUEST.model_copy(update=field), [generator_for(1)])


def test_prompts_are_encoded_as_the_pipeline_does(tiny_family: Any, tiny_folder: Path) -> None:
    from diffusers import LTXPipeline

    prompts = [PROMPT, ""]
    pipeline = LTXPipeline.from_pretrained(tiny_folder)
    embeds, mask, _, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=16)
    ours = tiny_family.encode(prompts)
    assert torch.allclose(ours.embeds, embeds, atol=1e-5) and torch.equal(ours.mask, mask)
    assert not torch.allclose(ours.embeds[0], ours.embeds[1])


def test_a_sentencepiece_tokenizer_is_read_as_it_comes(broken: Path) -> None:
    """LTX-Video's own T5 brings its words as spiece.model, without a tokenizer.json."""
    from sentencepiece import SentencePieceTrainer

    shutil.rmtree(broken / "tokenizer")
    (broken / "tokenizer").mkdir()
    SentencePieceTrainer.train(
        sentence_iterator=iter([PROMPT, "the blue star over a meadow"] * 20),
        model_prefix=str(broken / "tokenizer" / "spiece"),
        vocab_size=26,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 128, "extra_ids": 0, **special}
    (broken / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    conditioning = load(broken).encode([PROMPT])
    assert conditioning.embeds.shape == (1, 128, 16) and conditioning.mask is not None
    assert 5 < int(conditioning.mask.sum()) < 40


def test_a_tokenizer_that_is_not_there_is_refused(broken: Path) -> None:
    shutil.rmtree(broken / "tokenizer")
    with pytest.raises(FamilyError, match=r"The tokenizer in '.*tokenizer' cannot be read"):
        load(broken)


def test_frames_are_decoded_as_the_pipeline_does(tiny_family: Any, tiny_folder: Path) -> None:
    from diffusers import LTXPipeline

    latents = tiny_family.init_latents(REQUEST, [generator_for(1), generator_for(2)])
    pipeline = LTXPipeline.from_pretrained(tiny_folder)
    whitened = pipeline._denormalize_latents(latents, pipeline.vae.latents_mean, pipeline.vae.latents_std)
    with torch.no_grad():
        video = pipeline.vae.decode(whitened, None, return_dict=False)[0]
    theirs = np.round(pipeline.video_processor.postprocess_video(video, output_type="np") * 255)
    ours = tiny_family.decode(latents)
    assert ours.shape == (2, 17, 48, 64, 3) and ours.dtype == np.uint8
    assert np.abs(ours - theirs).max() <= 1 and ours.std() > 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_clips_frames_do_not_depend_on_what_is_decoded_beside_it(tiny_family: Any, count: int) -> None:
    """Small clips go through the VAE in pairs on a CPU; each comes out as it does alone, and so do latents."""
    request = GenerationRequest(prompt="a", num_frames=17, width=64, height=64)
    latents = tiny_family.init_latents(request, [generator_for(seed) for seed in range(count)])
    frames = tiny_family.decode(latents)
    assert len(frames) == count
    assert all((tiny_family.decode(row)[0] == alone).all() for row, alone in zip(latents.split(1), frames, strict=True))
    again = tiny_family.encode_frames(frames)
    assert len(again) == count
    for row, alone in zip(np.split(frames, count), again, strict=True):
        assert torch.equal(tiny_family.encode_frames(row)[0], alone)


def test_frames_become_latents_of_the_same_space(tiny_family: Any) -> None:
    """The latents' scale is undone both ways: a VAE that shifts and stretches must not show in the round trip."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 17, 48, 64, 3), dtype=np.uint8)
    plain = tiny_family.encode_frames(frames)
    assert plain.shape == (2, 8, 3, 3, 4) and plain.dtype == torch.float32
    pictures = tiny_family.decode(plain)
    mean, std = tiny_family.vae.latents_mean.clone(), tiny_family.vae.latents_std.clone()
    tiny_family.vae.latents_mean += 0.3
    tiny_family.vae.latents_std *= 2
    try:
        assert torch.allclose(tiny_family.encode_frames(frames), (plain - 0.3) / 2, atol=1e-5)
        again = tiny_family.decode(tiny_family.encode_frames(frames))
    finally:
        tiny_family.vae.latents_mean.copy_(mean)
        tiny_family.vae.latents_std.copy_(std)
    assert np.abs(again.astype(int) - pictures).max() <= 1


def test_one_level_for_all_frames_is_one_level_for_each(tiny_family: Any) -> None:
    latents = tiny_family.init_latents(REQUEST, [generator_for(1), generator_for(2)])
    conditioning = replace(tiny_family.encode([PROMPT, ""]), fps=8.0)
    levels = torch.tensor([0.7, 0.2])
    whole = tiny_family.predict(latents, levels, conditioning)
    assert torch.allclose(whole, tiny_family.predict(latents, levels[:, None].expand(2, 3), conditioning), atol=1e-5)
    given = levels[:, None].repeat(1, 3)
    given[:, 0] = 0
    assert not torch.allclose(whole, tiny_family.predict(latents, given, conditioning), atol=1e-3)


def test_the_network_is_told_the_frame_rate(tiny_family: Any) -> None:
    latents = tiny_family.init_latents(REQUEST, [generator_for(1)])
    conditioning = tiny_family.encode([PROMPT])
    outputs = [tiny_family.predict(latents, torch.tensor([0.5]), replace(conditioning, fps=fps)) for fps in (8.0, 24.0)]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    with pytest.raises(AssertionError, match="needs the frame rate"):
        tiny_family.predict(latents, torch.tensor([0.5]), conditioning)


def test_weights_at_rest_run_in_the_presets_type(broken: Path, tiny_family: Any) -> None:
    edit_weights(broken, lambda tensors: tensors.update({key: value.half() for key, value in tensors.items()}))
    family = load(broken)
    assert {parameter.dtype for parameter in family.network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in family.network.parameters())
    assert not family.network.training
    latents = family.init_latents(REQUEST, [generator_for(1)])
    ours, exact = (
        f.predict(latents, torch.tensor([0.5]), replace(f.encode([PROMPT]), fps=8.0)) for f in (family, tiny_family)
    )
    assert (ours - exact).abs().max() <= 2e-2


def test_nan_weights_are_refused_by_name(broken: Path) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["transformer_blocks.1.attn1.to_q.weight"][0, 0] = float("nan")

    edit_weights(broken, poison)
    with pytest.raises(FamilyError, match=r"tensor 'transformer_blocks\.1\.attn1\.to_q\.weight' holds NaN"):
        load(broken)


def test_missing_tensors_are_refused(broken: Path) -> None:
    edit_weights(broken, lambda tensors: tensors.pop("proj_in.weight"))
    with pytest.raises(FamilyError, match=r"lack 1 tensors, the first is 'proj_in\.weight'"):
        load(broken)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_cut_off_weights_are_refused(broken: Path, part: str) -> None:
    file = next((broken / part).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FamilyError, match=f"The weights in '.*{part}' cannot be read"):
        load(broken)


def test_a_missing_part_is_refused(broken: Path) -> None:
    shutil.rmtree(broken / "text_encoder")
    with pytest.raises(FamilyError, match="text_encoder"):
        load(broken)


def test_a_folder_of_another_family_is_refused(broken: Path) -> None:
    index = broken / "model_index.json"
    table = json.loads(index.read_text())
    index.write_text(json.dumps({**table, "_class_name": "WanPipeline", "transformer": ["diffusers", "WanModel"]}))
    with pytest.raises(FamilyError, match=r"another family \(WanPipeline\): its transformer is WanModel"):
        load(broken)


def test_a_folder_without_an_index_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match=r"model_index\.json' is missing or damaged"):
        load(tmp_path)


@pytest.mark.parametrize("source", ["assets/no-such/model", "/no/such/folder", "./nowhere"])
def test_folders_that_are_not_there_are_no_hub_ids(source: str) -> None:
    with pytest.raises(FamilyError, match="There is no model folder"):
        load(source)


def test_every_family_has_a_spec_under_its_own_key() -> None:
    for key in FAMILIES:
        spec = family_spec(key)
        assert spec.key == key and spec.licence and spec.source
        assert spec.allows_frames(spec.nearest_frames(30))


def test_unknown_families_are_named() -> None:
    with pytest.raises(ConfigError, match="Unknown family 'ltxx'. Did you mean 'ltx'?"):
        family_spec("ltxx")


def test_a_preset_opens_its_model(tiny_folder: Path) -> None:
    shipped = load_model_preset("mini").model_dump()
    preset = ModelPreset(**{**shipped, "source": str(tiny_folder), "dtype": "bfloat16"})
    family = open_model(preset, device="cpu")
    assert family.network.dtype == torch.bfloat16
    latents = family.init_latents(REQUEST, [generator_for(1)])
    conditioning = replace(family.encode([PROMPT]), fps=8.0)
    assert conditioning.embeds.dtype == torch.bfloat16
    assert family.predict(latents, torch.tensor([0.5]), conditioning).dtype == torch.float32


@pytest.mark.parametrize("tiny", ["ltx_condition"], indirect=True)
def test_the_versions_of_ltx_are_not_taken_for_each_other(tiny: Any, tiny_folder: Path) -> None:
    """Their networks are of one class, but each counts time in its own way."""
    for key, folder, kind in (("ltx", tiny.folder, "LTXConditionPipeline"), ("ltx_condition", tiny_folder, "LTXPipel")):
        family = family_class(key)(str(folder))
        with pytest.raises(FamilyError, match=rf"has another version \({kind}.*\) than .*: correct `family`"):
            family.load("cpu", torch.float32)


@pytest.mark.parametrize("tiny", ["ltx2_that_hears"], indirect=True)
def test_ltx2_is_its_pipelines_own_isolated_branch(tiny_open: Any) -> None:
    """A modality scale of 0 leaves of the pipeline's prediction what its branch without the other modality says."""
    model, family = tiny_open.model, tiny_open.family
    latents = family.init_latents(model.request, [generator_for(3)])
    sigmas = sigmas_for(family.scheduler_config, model.request.num_steps, latents.shape[2:].numel())
    words = replace(family.encode([PROMPT]), fps=model.request.fps)
    ours = [step.next_latents for step in denoise(family, latents, sigmas, words)][-1]

    def theirs(**scales: float) -> torch.Tensor:
        made = tiny_open.pipeline(
            **model.encode(tiny_open.pipeline, [PROMPT]),
            **model.start(latents, 3),
            **{**model.further, **scales},
            width=64,
            height=64,
            num_frames=17,
            num_inference_steps=model.request.num_steps,
            guidance_scale=1.0,
            output_type="latent",
        )
        return model.finish(made.frames)

    assert (ours - theirs(modality_scale=0.0, audio_modality_scale=2.0)).abs().max() <= 1e-4
    assert (ours - theirs()).abs().max() > 1e-2, "which hears the sound"


@pytest.mark.double("pictures")
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("tiny", ["ltx_image"], indirect=True)
def test_clips_from_a_picture_are_the_image_pipelines(tiny: Any, guidance: float) -> None:
    """The first version, by a request with an image, against LTXImageToVideoPipeline."""
    from PIL import Image

    from engine.generation.given_pictures import picture_extras

    family, model, pipeline = tiny.open(), tiny.model, tiny.pipeline
    picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    request = model.request.model_copy(update={"image": "0" * 64})
    given = picture_extras(family, [request], {"0" * 64: picture}.__getitem__)
    words, nothing = (replace(family.encode([text]), fps=request.fps, extras=given) for text in (PROMPT, ""))
    noise = family.init_latents(request, [generator_for(5)])
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, noise.shape[2:].numel())
    ours = list(denoise(family, noise, sigmas, words, negative=nothing, guidance=guidance))[-1].next_latents
    start = torch.cat([given["first"][:, :, None], noise[:, :, 1:]], dim=2)
    arguments = model.encode(pipeline, [PROMPT])
    if guidance > 1:
        arguments |= {f"negative_{name}": value for name, value in model.encode(pipeline, [""]).items()}
    theirs = pipeline(
        image=Image.fromarray(picture),
        latents=start.flatten(2).transpose(1, 2),
        frame_rate=request.fps,
        width=64,
        height=64,
        num_frames=request.num_frames,
        num_inference_steps=request.num_steps,
        guidance_scale=guidance,
        output_type="latent",
        **arguments,
    ).frames
    wanted = torch.as_tensor(theirs).transpose(1, 2).unflatten(2, noise.shape[2:])
    assert (ours - noise).std() > 0.1 and torch.equal(ours[:, :, 0], given["first"])
    assert (ours - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("tiny", ["ltx_condition_without_pictures"], indirect=True)
def test_first_and_last_picture_are_given_as_by_their_places(tiny: Any) -> None:
    from engine.generation.given_pictures import picture_extras

    family = tiny.open()
    pictures = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    shown = dict(zip(("0" * 64, "1" * 64), pictures, strict=True))
    request = tiny.model.request.model_copy(update={"image": "0" * 64, "last_image": "1" * 64})
    given = picture_extras(family, [request], shown.__getitem__)
    wanted = family.encode_pictures(pictures[None], (0, request.num_frames - 1), request.num_frames)
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)
