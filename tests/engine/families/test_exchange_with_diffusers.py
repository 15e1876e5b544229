"""Adapters go to diffusers' own pipelines and come from them: `load_lora_weights` of each family, latents compared."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.errors import FamilyError
from engine.families.exchange.exporting import write_format
from engine.families.exchange.importing import convert
from engine.families.lora import activate_adapter, activate_adapters, save_adapter
from engine.families.lora_files import SECOND_FILE, WEIGHTS_FILE, Lora, for_pipeline, read_file, read_parts, write_parts
from engine.families.registry import family_spec
from engine.sampling.sampler import denoise
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    # WanImageToVideoPipeline adds layers of zeros for the picture's keys and values to every LoRA without them.
    pytest.mark.filterwarnings("ignore:While injecting the PEFT adapters.*add_k_proj:RuntimeWarning"),
]

PROMPT, SEED = "a red circle moving right", 3
RANK, ALPHA = 2, 6


def load_in_diffusers(pipeline: Any, folder: Path) -> None:
    """As docs/adapters.md says; the pipeline of HunyuanVideo-1.5 has no loader, but its network has."""
    if hasattr(pipeline, "load_lora_weights"):
        pipeline.load_lora_weights(folder, adapter_name="ours")
    else:
        pipeline.transformer.load_lora_adapter(folder, weight_name=WEIGHTS_FILE, adapter_name="ours")
    if (folder / SECOND_FILE).is_file():
        pipeline.load_lora_weights(folder, weight_name=SECOND_FILE, adapter_name="ours", load_into_transformer_2=True)


def assert_same(ours: torch.Tensor, wanted: torch.Tensor) -> None:
    """To 1e-5, or that of the latents' spread where it is above 1: float32 has seven digits, and random weights
    amplify (AnimateDiff's toy with FreeNoise comes to latents of 30).
    """
    assert (ours - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.std()))


ONE_OF_EACH = [
    "ltx_condition",
    "ltx2",
    "wan",
    "wan_experts",
    "wan_flf_experts",
    "wan_vace",
    "cogvideox_rotary",
    "cogvideox15",
    "sana_video",
    "hunyuanvideo",
    "mochi",
    "skyreels_v2",
    "animatediff",
]


@pytest.fixture
def plain_diffusers(tiny: SimpleNamespace) -> Any:
    """The entry, its pipeline without adapters again afterwards."""
    yield tiny
    if hasattr(tiny.pipeline, "unload_lora_weights"):
        tiny.pipeline.unload_lora_weights()
    else:
        tiny.pipeline.transformer.unload_lora()


@pytest.mark.double("export diffusers")
def test_what_is_saved_is_the_same_model_in_diffusers(plain_diffusers: Any, tmp_path: Path) -> None:
    tiny = plain_diffusers
    family = tiny.adapted()
    save_adapter(family.network, "made", tmp_path)
    ours = tiny.latents_of(family)
    noise = family.init_latents(tiny.model.request, [generator_for(SEED)])
    base = tiny.theirs(noise)
    load_in_diffusers(tiny.pipeline, tmp_path)
    wanted = tiny.theirs(noise)
    assert (wanted - base).abs().max() > 1e-3, "the adapter does something"
    assert_same(ours, wanted)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
@pytest.mark.parametrize("tiny", ["ltx_condition", "wan_experts", "animatediff"], indirect=True)
def test_several_adapters_are_those_of_diffusers(plain_diffusers: Any, tmp_path: Path) -> None:
    tiny = plain_diffusers
    family = tiny.adapted()
    folders = {name: tmp_path / name for name in ("first", "second")}
    save_adapter(family.network, "made", folders["first"])
    for name, parameter in family.network.named_parameters():
        if ".lora_A.made." in name:
            parameter.data.neg_().add_(0.1)
    save_adapter(family.network, "made", folders["second"])
    again = tiny.open()
    activate_adapters(again.network, {"first": 0.75, "second": 0.5}, folders)
    for name, folder in folders.items():
        tiny.pipeline.load_lora_weights(folder, adapter_name=name)
        if (folder / SECOND_FILE).is_file():
            tiny.pipeline.load_lora_weights(
                folder, weight_name=SECOND_FILE, adapter_name=name, load_into_transformer_2=True
            )
    tiny.pipeline.set_adapters(list(folders), [0.75, 0.5])
    ours = tiny.latents_of(again)
    assert_same(ours, tiny.theirs(again.init_latents(tiny.model.request, [generator_for(SEED)])))
    activate_adapter(again.network, "first")
    assert (tiny.latents_of(again) - ours).abs().max() > 1e-3


def old_form(network: Any, folder: Path) -> None:
    """As Dailies wrote adapters before: keys without a prefix, two experts in one file."""
    network.save_lora_adapter(folder, adapter_name="made", weight_name=WEIGHTS_FILE)


@pytest.mark.parametrize("tiny", ["ltx_condition", "wan_flf_experts", "animatediff"], indirect=True)
def test_adapters_of_the_old_form_still_load(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family = tiny.adapted()
    old_form(family.network, tmp_path)
    wanted = tiny.latents_of(family)
    again = tiny.open()
    activate_adapter(again.network, "old", tmp_path)
    assert torch.equal(tiny.latents_of(again), wanted)


@pytest.mark.parametrize("tiny", ["ltx_condition", "wan_experts", "animatediff"], indirect=True)
def test_the_old_form_becomes_what_is_written_now(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family = tiny.adapted()
    old_form(family.network, tmp_path / "old")
    save_adapter(family.network, "made", tmp_path / "new")
    write_parts(tmp_path / "made", for_pipeline(read_parts(tmp_path / "old"), family.spec.network_part))
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "made").iterdir())
    for name in files:
        (made, header), (new, own) = (read_file(tmp_path / folder / name) for folder in ("made", "new"))
        assert header == own and made.keys() == new.keys()
        assert all(torch.equal(made[key], new[key]) for key in made)


@pytest.mark.parametrize("tiny", ONE_OF_EACH, indirect=True)
def test_what_diffusers_saves_loads(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """With the metadata that its writer takes; a pair of experts in two folders' files."""
    from peft.utils import get_peft_model_state_dict

    family = tiny.adapted()
    experts = getattr(family.network, "experts", {"": family.spec.network_part})
    layers = get_peft_model_state_dict(family.network, adapter_name="made")
    settings = family.network.peft_config["made"].to_dict()
    part = family.spec.network_part
    for expert, place in experts.items():
        own = {key.removeprefix(f"{expert}."): value for key, value in layers.items() if key.startswith(expert)}
        told = {f"{part}_lora_layers": own, f"{part}_lora_adapter_metadata": settings}
        type(tiny.pipeline).save_lora_weights(
            tmp_path, weight_name=SECOND_FILE if place == "transformer_2" else WEIGHTS_FILE, **told
        )
    again = tiny.open()
    activate_adapter(again.network, "theirs", tmp_path)
    assert torch.equal(tiny.latents_of(again), tiny.latents_of(family))


@pytest.mark.parametrize("tiny", ["wan_experts"], indirect=True)
@pytest.mark.parametrize("file", [WEIGHTS_FILE, SECOND_FILE])
def test_one_expert_may_have_an_adapter_alone(plain_diffusers: Any, file: str, tmp_path: Path) -> None:
    tiny = plain_diffusers
    family = tiny.adapted()
    save_adapter(family.network, "made", tmp_path)
    (tmp_path / ({WEIGHTS_FILE, SECOND_FILE} - {file}).pop()).unlink()
    again = tiny.open()
    activate_adapter(again.network, "one", tmp_path)
    ours = tiny.latents_of(again)
    assert (ours - tiny.latents_of(family)).abs().max() > 1e-3
    further = {"load_into_transformer_2": True} if file == SECOND_FILE else {}
    tiny.pipeline.load_lora_weights(tmp_path, weight_name=file, **further)
    assert_same(ours, tiny.theirs(again.init_latents(tiny.model.request, [generator_for(SEED)])))


def test_mini_with_alpha_three_times_its_rank(mini_folder: Path, tmp_path: Path) -> None:
    """As the fault was found: rank 8, alpha 24, lora_B of spread 0.02; loaded by LTXPipeline from the folder."""
    from diffusers import LTXPipeline

    from engine.families.ltx import LTXFamily
    from engine.request import GenerationRequest

    family = LTXFamily(str(mini_folder))
    family.load("cpu", torch.float32)
    config = LoraConfig(r=8, lora_alpha=24, target_modules=list(family.spec.lora_targets))
    torch.manual_seed(0)
    family.network.add_adapter(config, adapter_name="made")
    for name, parameter in family.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.02)
    save_adapter(family.network, "made", tmp_path)
    request = GenerationRequest(prompt=PROMPT, num_frames=17, width=96, height=64, num_steps=4)
    noise = family.init_latents(request, [generator_for(SEED)])
    words = replace(family.encode([PROMPT]), fps=request.fps)
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, noise.shape[2:].numel())
    ours = list(denoise(family, noise, sigmas, words))[-1].next_latents
    pipeline = LTXPipeline.from_pretrained(mini_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    of = {"width": 96, "height": 64, "num_frames": 17, "num_inference_steps": 4, "frame_rate": request.fps}
    of |= {"guidance_scale": 1.0, "output_type": "latent", "max_sequence_length": words.embeds.shape[1]}

    def made() -> torch.Tensor:
        packed = noise.flatten(2).transpose(1, 2)
        latents = pipeline(prompt=PROMPT, latents=packed, **of).frames
        return latents.transpose(1, 2).unflatten(2, noise.shape[2:])

    base = made()
    pipeline.load_lora_weights(tmp_path)
    assert (made() - base).abs().max() > 0.1
    assert_same(ours, made())


WAN_FFN = ("ffn.net.0.proj", "ffn.net.2")
NO_MOTION = r".*motion_modules.*"
DOUBLE_BLOCKS = r"transformer_blocks\.\d+\.attn\.(to|add)_(q|k|v).*"
EXPORTS: list[tuple[str, str, Any, str | None, bool]] = [
    # toy, format, further targets, left out, whether diffusers loads it too
    ("wan", "comfyui", (), None, True),
    ("wan", "kohya", WAN_FFN, None, True),
    ("wan", "kohya", (), None, False),  # diffusers expects the feed-forward layers
    ("wan_flf_experts", "comfyui", ("add_k_proj", "add_v_proj"), None, True),
    ("wan_experts", "comfyui", (*WAN_FFN, "time_proj", "time_embedder.linear_1", "time_embedder.linear_2"), None, True),
    ("wan_experts", "kohya", WAN_FFN, None, True),
    ("wan_vace", "comfyui", (*WAN_FFN, r"vace_blocks.0.proj_in", "proj_out"), None, False),  # no VACE blocks there
    ("wan_vace", "kohya", (), None, False),
    ("ltx_condition", "comfyui", ("ff.net.0.proj", "ff.net.2"), None, True),
    ("ltx_condition", "kohya", ("proj_in", "time_embed.linear"), None, False),
    ("ltx2", "comfyui", ("proj_in", "time_embed.linear"), None, True),
    ("ltx2", "kohya", (), None, False),
    ("hunyuanvideo", "comfyui", DOUBLE_BLOCKS, None, True),
    ("hunyuanvideo", "comfyui", (), None, False),  # diffusers knows a width of 3072 alone, and not the refiner's fusing
    ("hunyuanvideo", "kohya", ("proj_mlp", "proj_out", "ff.net.0.proj", "add_q_proj", "norm1.linear"), None, False),
    ("animatediff", "kohya", (), NO_MOTION, True),
]
OTHER_FAMILIES = [(toy, form) for toy in ("ltx", "wan_ti2v", "wan_i2v", "skyreels_v2") for form in ("comfyui", "kohya")]
OTHER_FAMILIES += [("wan_flf", "kohya")]
LONG_EXPORTS = [(*one, (), None, False) for one in OTHER_FAMILIES]
LONG_EXPORTS += [("animatediff_sparsectrl", "kohya", (), NO_MOTION, False)]


@pytest.mark.double("export {form}")
@pytest.mark.parametrize(
    ("tiny", "form", "targets", "without", "loads_there"),
    [
        *(pytest.param(*row, id=f"{number}-{row[0]}-{row[1]}") for number, row in enumerate(EXPORTS)),
        *(pytest.param(*row, id=f"{row[0]}-{row[1]}", marks=pytest.mark.slow) for row in LONG_EXPORTS),
    ],
    indirect=["tiny"],
)
def test_an_exported_file_is_the_same_model(
    plain_diffusers: Any, form: str, targets: Any, without: str | None, loads_there: bool, tmp_path: Path
) -> None:
    """Imported again, and where diffusers reads the format, in its pipeline."""
    tiny = plain_diffusers
    family = tiny.adapted(targets, without)
    save_adapter(family.network, "made", tmp_path / "made")
    saved = for_pipeline(read_parts(tmp_path / "made"), family.spec.network_part)
    write_format(tmp_path / form, "mine", saved, family.spec, form)
    pair = {"transformer": "mine_high_noise.safetensors", "transformer_2": "mine_low_noise.safetensors"}
    files = pair if "transformer_2" in saved else {family.spec.network_part: "mine.safetensors"}
    assert {path.name for path in (tmp_path / form).iterdir()} == set(files.values())
    ours = tiny.latents_of(family)

    parts = {
        part: convert(tmp_path / form / file, family.spec)[family.spec.network_part] for part, file in files.items()
    }
    assert {part: lora.ranks for part, lora in parts.items()} == {part: lora.ranks for part, lora in saved.items()}
    write_parts(tmp_path / "again", parts)
    again = tiny.open()
    base = tiny.latents_of(again)
    activate_adapter(again.network, "again", tmp_path / "again")
    assert (ours - base).abs().max() > 1e-3, "the adapter does something"
    assert_same(tiny.latents_of(again), ours)

    noise = family.init_latents(tiny.model.request, [generator_for(SEED)])

    def load() -> None:
        for part, file in files.items():
            further = {"load_into_transformer_2": True} if part == "transformer_2" else {}
            tiny.pipeline.load_lora_weights(tmp_path / form, weight_name=file, adapter_name="ours", **further)

    if loads_there:
        load()
        assert_same(tiny.theirs(noise), ours)


def test_fused_layers_of_hunyuanvideo_are_read_by_diffusers_at_their_real_width(tmp_path: Path) -> None:
    """Its reader assumes a width of 3072, which no toy has; the query is left out, as a preset may."""
    from diffusers import HunyuanVideoPipeline

    width, block = 3072, "single_transformer_blocks.7"
    sizes = {f"{block}.attn.to_k": width, f"{block}.attn.to_v": width, f"{block}.proj_mlp": 4 * width}
    torch.manual_seed(0)
    tensors = {}
    for layer, rows in sizes.items():
        tensors |= {
            f"{layer}.lora_A.weight": torch.randn(RANK, width),
            f"{layer}.lora_B.weight": torch.randn(rows, RANK),
        }
    lora = Lora(tensors=tensors, alphas=dict.fromkeys(sizes, float(ALPHA)))
    write_format(tmp_path, "mine", {"transformer": lora}, family_spec("hunyuanvideo"), "comfyui")
    name = "diffusion_model.single_blocks.7.linear1.lora_B.weight"
    whole = load_file(tmp_path / "mine.safetensors")
    assert whole[name].shape == (7 * width, 3 * RANK)
    needed = {name.replace("single_blocks.7.linear1", "double_blocks.0.img_attn_qkv"): torch.zeros(3 * width, 2)}
    read = HunyuanVideoPipeline.lora_state_dict(whole | needed)  # its reader looks for a layer of the double blocks
    for layer in [*sizes, f"{block}.attn.to_q"]:
        down, up = (read[f"transformer.{layer}.lora_{side}.weight"] for side in "AB")
        if layer.endswith("to_q"):
            assert not up.any()
            continue
        wanted = tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"] * (ALPHA / RANK)
        assert torch.allclose(up @ down, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tiny", "form", "sentence"),
    [
        ("cogvideox", "comfyui", r"CogVideoX has no comfyui format: .*choose --format diffusers"),
        ("cogvideox", "kohya", r"CogVideoX has no kohya format: .*choose --format diffusers"),
        ("animatediff", "comfyui", r"AnimateDiff has no comfyui format: .*choose --format kohya"),
        ("animatediff", "kohya", r"cannot be written in the kohya format of AnimateDiff \(the layer '.*motion_modules"),
    ],
    indirect=["tiny"],
)
def test_what_has_no_such_format_is_refused(tiny: SimpleNamespace, form: str, sentence: str, tmp_path: Path) -> None:
    family = tiny.adapted()
    save_adapter(family.network, "made", tmp_path / "made")
    saved = for_pipeline(read_parts(tmp_path / "made"), family.spec.network_part)
    with pytest.raises(FamilyError, match=sentence):
        write_format(tmp_path / form, "mine", saved, family.spec, form)
    assert not (tmp_path / form).exists()


def test_the_header_states_rank_and_alpha(tiny_lora: Path) -> None:
    with safe_open(tiny_lora / WEIGHTS_FILE, framework="pt") as opened:
        assert all(key.startswith("transformer.") for key in opened.keys())
        settings = json.loads(opened.metadata()["lora_adapter_metadata"])
    assert settings["transformer.r"] == 2 and settings["transformer.lora_alpha"] == 8


def test_alphas_and_ranks_of_single_layers_survive(tiny_lora: Path, tmp_path: Path) -> None:
    """One layer with another rank and alpha than the rest."""
    tensors = dict(load_file(tiny_lora / WEIGHTS_FILE))
    layer = "transformer.transformer_blocks.0.attn1.to_q"
    tensors[f"{layer}.lora_A.weight"] = torch.randn(3, 24)
    tensors[f"{layer}.lora_B.weight"] = torch.randn(24, 3)
    layers = {key.split(".lora_")[0] for key in tensors}
    alphas = {f"{one}.alpha": torch.tensor(12.0 if one == layer else 8.0) for one in layers}
    (tmp_path / "a").mkdir()
    save_file({**tensors, **alphas}, tmp_path / "a" / WEIGHTS_FILE)
    lora = read_parts(tmp_path / "a")["transformer"]
    write_parts(tmp_path / "b", {"transformer": lora})
    again = read_parts(tmp_path / "b")["transformer"]
    assert again.alphas == lora.alphas and again.ranks == lora.ranks
    name = layer.removeprefix("transformer.")
    assert (again.ranks[name], again.alphas[name]) == (3, 12.0)
    assert {alpha for other, alpha in again.alphas.items() if other != name} == {8.0}
