"""Training a model of real size on a GPU: time of a GRPO update and its parts, MFU, peak memory against the planner.

Random weights in the shape of Wan 2.1 1.3B (its text encoder has one thin layer: it is not trained), LoRA, bf16, clips
of 65 frames at 512x512 px, through the same process that trains a run. Twice: blocks recomputed, and kept. Bar: the
memory that torch allocated at most lies within 15 % of what the planner foretells. `--small` runs the same at toy size,
also without a GPU, where no memory is measured.

Preflight's line "replay" tells how exactly the rollout's log-probabilities are replayed. It is only of use on a step
whose noise leaves the velocity visible: the window is two steps, so that the second (level 0.90 to 0.75, std 0.81 with
flow_grpo) is among them, and "noise" has to be ok. At std 219.8, the first step's before UniPC's first level counted as
pure noise, a velocity that is wrong by a tenth of its size gives a difference of 0.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measurement import report

WORDS = ("a", "cat", "red", "ball", "dog", "runs", "jumps", "fast", "over", "river")
NETWORK = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30}
TOY_NETWORK = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 2}
TOY_VAE = {"base_dim": 3, "dim_mult": [1] * 4, "num_res_blocks": 1}
SIZE, TOY_SIZE = {"num_frames": 65, "width": 512, "height": 512}, {"num_frames": 9, "width": 32, "height": 32}
BAR = 1.15
DATASHEET_TFLOPS = {"H100": 989.0, "H200": 989.0, "MI300X": 1307.0, "A100": 312.0}  # dense bf16

MODEL = """
title = "Wan's shape, random weights"
source = "{source}"
"""
PRESET = """
title = "GRPO on a GPU"
algorithm = "grpo"
model = "wan21_1_3b"
mix = "framed"
prompts = "{prompts}"
[settings]
num_steps = 4
window = 2
guidance = 1.0
lora_rank = 32
learning_rate = 1e-5
max_steps = 2
logging_steps = 1
sample_clips = 0
save_steps = 100
"""
MIX = """
title = "Framed"
description = "One cheap reward: what is measured here is the rest."
calibration = "mini"
[weights]
framing = 1.0
[gates]
motion = 0.0
sharpness = 0.0
cut = 0.0
loop = 0.0
"""
CASES = {
    "recomputed": {
        "gradient_checkpointing": True,
        "num_generations": 4,
        "per_device_train_batch_size": 4,
        "rollout_batch": 4,
        "gradient_accumulation_steps": 1,
    },
    "kept": {
        "gradient_checkpointing": False,
        "num_generations": 2,
        "per_device_train_batch_size": 1,
        "rollout_batch": 2,
        "gradient_accumulation_steps": 2,
    },
}


def make_model(folder: Path, small: bool) -> None:
    """A diffusers folder whose networks have their first random weights."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    width = 32 if small else 4096
    text = UMT5Config(vocab_size=16, d_model=width, d_kv=16, num_heads=2, d_ff=64, num_layers=1)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        network = WanTransformer3DModel(text_dim=width, **(TOY_NETWORK if small else NETWORK)).bfloat16()
        torch.nn.init.normal_(network.proj_out.weight, std=0.02)
        vae = AutoencoderKLWan(**(TOY_VAE if small else {})).bfloat16()
        encoder = UMT5EncoderModel(text).bfloat16()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=512, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    WanPipeline(
        tokenizer=tokenizer, text_encoder=encoder, transformer=network, vae=vae, scheduler=scheduler
    ).save_pretrained(folder)


def write_presets(folder: Path, model: Path) -> None:
    prompts = folder / "prompts.txt"
    texts = {
        "models/wan21_1_3b.toml": MODEL.format(source=model),
        "train/gpu.toml": PRESET.format(prompts=prompts),
        "rewards/framed.toml": MIX,
        "prompts.txt": "a cat runs fast\na red ball jumps over a river\n",
    }
    for name, content in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def matmul_tflops(size: int = 8192) -> float:
    """What a large product of bf16 matrices reaches here: the median of ten."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / sorted(times[3:])[5] / 1e12


Device = tuple[str, float | None, float | None]


def device() -> Device:
    """The device's name, what a large product reaches on it in TFLOP/s, and what its datasheet says of such."""
    if not torch.cuda.is_available():
        return "cpu", None, None
    name = torch.cuda.get_device_name()
    return name, matmul_tflops(), next((peak for key, peak in DATASHEET_TFLOPS.items() if key in name), None)


def train(folder: Path, settings: dict[str, Any]) -> list[dict[str, float]]:
    """The logged rows of one run, trained by a process of its own, and what was foretold of it."""
    from engine.config.presets import load_train_preset
    from engine.runs.run import Run
    from engine.workspace import Workspace

    run = Run.create(Workspace(folder).prepare(), load_train_preset("gpu", {"settings": settings}))
    done = subprocess.run(
        [sys.executable, "-m", "engine.training.main", str(run.folder)], capture_output=True, text=True
    )
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise SystemExit(f"The run failed with exit code {done.returncode}.")
    for verdict in json.loads(run.preflight.read_text()):
        print(json.dumps({"preflight": verdict["name"], "level": verdict["level"], "says": verdict["sentence"]}))
    return run.metrics()


def measure(name: str, folder: Path, settings: dict[str, Any], where: Device) -> bool:
    from engine.config.presets import load_train_preset
    from engine.estimation.flops import FlopCount, forward_flop
    from engine.estimation.memory import estimate_memory
    from engine.estimation.run_estimate import load_of
    from engine.estimation.run_plan import plan
    from engine.estimation.update_costs import cost_of

    rows = train(folder, settings)
    planned = plan(load_train_preset("gpu", {"settings": settings}))
    assert planned is not None
    foretold, last = estimate_memory(load_of(planned)), rows[-1]
    device_name, reached, datasheet = where
    seconds = {part: last[f"time/{part}"] for part in ("rollout", "decode", "score")}
    seconds["update"] = last["time/step"] - sum(seconds.values())  # the optimiser and what the device still owed too
    cost, whole = cost_of(planned), forward_flop(planned.shape, planned.tokens)
    effort = FlopCount(forward=cost.forward, trained=cost.trained, frozen=True)
    trained = effort.trained_flop(planned.shape, planned.tokens)
    work = {"rollout": effort.forward * whole, "update": effort.trained * trained}
    tflops = {part: flop / seconds[part] / 1e12 for part, flop in work.items()}
    peak_gib, reserved_gib = (last.get(f"memory/{kind}", 0.0) for kind in ("allocated", "reserved"))
    details = {
        "device": device_name,
        "seconds_an_update": round(last["time/step"], 3),
        **{f"{part}_s": round(spent, 3) for part, spent in seconds.items()},
        **{f"{part}_tflops": round(value, 1) for part, value in tflops.items()},
        **{f"{part}_mfu": round(value / datasheet, 3) for part, value in tflops.items() if datasheet},
        "large_product_tflops": round(reached, 1) if reached else None,
        "foretold_gib": round(foretold.peak, 2),
        "busiest": foretold.busiest,
        "allocated_gib": round(peak_gib, 2),
        "reserved_gib": round(reserved_gib, 2),
    }
    if not peak_gib:
        print(json.dumps({"name": f"gpu_{name}_at_toy_size", **details}))
        return True
    ratio = max(peak_gib / foretold.peak, foretold.peak / peak_gib)
    return report(f"gpu_memory_{name}", ratio, "ratio, the larger over the smaller", bar=BAR, **details)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="at toy size, on any machine")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    chosen = parser.parse_args()
    if not chosen.small and not torch.cuda.is_available():
        sys.stderr.write("bench_gpu needs a CUDA or ROCm device; --small runs without.\n")
        return 0
    results = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_model(folder / "model", chosen.small)
        write_presets(folder / "presets", folder / "model")
        os.environ |= {"DAILIES_PRESETS": str(folder / "presets"), "DAILIES_TRACKIO": "0", "HF_HUB_OFFLINE": "1"}
        where, size = device(), TOY_SIZE if chosen.small else SIZE
        for case in chosen.cases:
            results.append(measure(case, folder / case, {**size, **CASES[case]}, where))
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
