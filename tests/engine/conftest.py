"""A whole LTX model at toy size with fixed random weights, clips for the library, and golden files."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.presets import load_model_preset
from engine.request import GenerationRequest
from engine.storage.clip_files import FILES
from engine.storage.library import ClipRecord, Library
from rewards.clip import Clip

WORDS = "a the red green blue circle square star moving left right up down on over white grey meadow night".split()
TINY_NFT = """
title = "Tiny NFT"
algorithm = "nft"
model = "tiny"
mix = "tiny"
rewards = "total"
prompts = "mini"
[alarms]
every = 0  # or each run would begin with a look at 16 clips
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 2
lora_rank = 2
max_steps = 20
num_generations = 2
per_device_train_batch_size = 2
gradient_accumulation_steps = 1
save_steps = 2
save_total_limit = 3
logging_steps = 1
sample_clips = 0
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/fixtures/latents/*.json again")


def pytest_runtest_call(item: pytest.Function) -> None:
    """Note the cell of tests/doubles.py that a test fills: family, column, and which of several things it checks."""
    for mark in item.iter_markers("double"):
        params = item.callspec.params
        key = params.get("preset_key") or params.get("key")
        family = load_model_preset(key).family if key else item.funcargs["tiny"].model.family
        kind = params[mark.args[1]] if len(mark.args) > 1 else ""
        cell = [family, mark.args[0].format(**params), getattr(kind, "__name__", kind).removesuffix("_wan")]
        item.user_properties.append(("double", cell))


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden", default=False))


@pytest.fixture(scope="session")
def golden_folder(root: Path) -> Path:
    return root / "tests" / "fixtures" / "latents"


def fill(network: Any, seed: int) -> None:
    """Weights that depend on the seed and the tensors' shapes alone, not on how a library initialises them."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(network.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name and parameter.ndim == 1
        parameter.data.copy_(1 + 0.1 * noise if is_norm else noise * (0.1 if parameter.ndim < 2 else 0.15))


def make_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **special).save_pretrained(folder)


def make_model(folder: Path, **scheduler: Any) -> None:
    """A diffusers folder: 16 px and 8 frames to a latent of 8 channels, as `mini` has it, every network tiny."""
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=16,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(4, 8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 3,
        decoder_block_out_channels=(4, 8, 8),
        layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, True),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(False,) * 4,
        downsample_type=("conv",) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        patch_size=2,
    )
    text_encoder = T5EncoderModel(T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=32))
    for seed, network in enumerate((transformer, vae, text_encoder)):
        fill(network, seed)
    make_tokenizer(folder / "tokenizer")
    LTXPipeline(
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def fill_weights() -> Callable[[Any, int], None]:
    """`fill_weights(network, seed)`: weights that no library's way of initialising can change."""
    return fill


@pytest.fixture(scope="session")
def write_tokenizer() -> Callable[[Path], None]:
    """`write_tokenizer(folder)`: a word-level tokenizer of 16 tokens a prompt."""
    return make_tokenizer


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., None]:
    """`make_tiny_model(folder, **scheduler_options)`, for tests that need a model of their own to break."""
    return make_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model's folder; its schedule shifts with the clip's size, as LTX-Video's does. Read only."""
    folder = tmp_path_factory.mktemp("tiny-ltx")
    make_model(folder, use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1)
    return folder


@pytest.fixture(scope="session")
def tiny_lora(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a LoRA that changes the toy model much."""
    import torch
    from peft import LoraConfig

    from engine.families.lora import save_adapter

    family = open_folder(tiny_folder)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=list(family.spec.lora_targets), init_lora_weights=False)
    torch.manual_seed(0)
    family.network.add_adapter(config, adapter_name="default")
    folder = tmp_path_factory.mktemp("lora")
    save_adapter(family.network, "default", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_family(tiny_folder: Path) -> Any:
    """The toy model, loaded on the CPU in float32. Shared: leave it as it was."""
    return open_folder(tiny_folder)


@pytest.fixture
def tiny_model(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of a preset of the toy model (17 frames of 64x64, 2 steps) and of a mix; subprocesses see them too."""
    preset = {"title": "Tiny", "family": "ltx", "source": str(tiny_folder), "dtype": "float32", "size_multiple": 16}
    preset |= {
        "width": 64,
        "height": 64,
        "num_frames": 17,
        "fps": 8.0,
        "num_steps": 2,
        "guidance": 1.0,
        "max_frames": 129,
    }
    models, mixes = (tmp_path / "presets" / kind for kind in ("models", "rewards"))
    models.mkdir(parents=True)
    mixes.mkdir()
    (models / "tiny.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in preset.items()))
    (mixes / "tiny.toml").write_text('title = "Tiny"\nweights = { flow_smoothness = 1.0, loop_break = 1.0 }\n')
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "presets"))
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    return "tiny"


@pytest.fixture
def preset(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of a preset that trains the toy model, also in a process of its own; it looks for no alarms."""
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    folder = tmp_path / "presets" / "train"
    folder.mkdir(parents=True)
    (folder / "tiny_nft.toml").write_text(TINY_NFT)
    return "tiny_nft"


@pytest.fixture(scope="session")
def open_family() -> Callable[[Path], Any]:
    return open_folder


def open_folder(folder: Path) -> Any:
    import torch

    from engine.families.ltx import LTXFamily

    family = LTXFamily(str(folder))
    family.load("cpu", torch.float32)
    return family


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """`until(condition, what)` waits for a condition and fails by name when it does not come."""

    def wait(condition: Callable[[], object], what: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def clip() -> Clip:
    """Nine frames of noise, 32x48 px."""
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
    return Clip(frames=frames, fps=8.0, prompt="noise")


@pytest.fixture
def put_files(store: Library) -> Callable[[str], None]:
    """`put_files(clip_id)`: files of a clip, for tests that never read them."""

    def put(clip_id: str) -> None:
        folder = store.workspace.clip_folder(clip_id)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_text("a clip")

    return put


@pytest.fixture
def put_clip(store: Library, put_files: Callable[[str], None]) -> Callable[[GenerationRequest], None]:
    """`put_clip(request)`: as if the request's clip had been generated."""

    def put(request: GenerationRequest) -> None:
        store.add_clip(ClipRecord.generated(request))
        put_files(request.id)

    return put


@pytest.fixture
def library(store: Library, put_files: Callable[[str], None]) -> Callable[[int, int], tuple[str, ...]]:
    """`library(prompts, models)`: a clip of each prompt by each of m0, m1, ...; the ids, prompt by prompt."""

    def make(prompts: int, models: int) -> tuple[str, ...]:
        ids = []
        for prompt in range(prompts):
            for model in range(models):
                ids.append(f"{prompt * 100 + model:016x}")
                record = ClipRecord(
                    id=ids[-1],
                    prompt=f"prompt {prompt}",
                    source="generated",
                    num_frames=9,
                    width=64,
                    height=64,
                    fps=8.0,
                    model=f"m{model}",
                )
                store.add_clip(record)
                put_files(ids[-1])
        return tuple(ids)

    return make
