"""Figures that a change of names and places must not move: training, generation, seeds, ids and rewards."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import access
import numpy as np

SHAPE = {"num_frames": 17, "width": 64, "height": 64, "num_steps": 4, "lora_rank": 2}
LENGTH = {"max_steps": 4, "logging_steps": 1, "save_steps": 4, "sample_clips": 0, "seed": 7, "ema_decay": 0.9}
ONLINE = {"num_generations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
GRPO = {**ONLINE, "num_iterations": 2, "window": 2, "window_every": 1, "epsilon": 1e-3}
PAIRED = {"per_device_train_batch_size": 2, "warmup_steps": 1}
DISTILLED = {"student_steps": 2, "rollout_clips": 2, "steps_per_rollout": 2, "per_device_train_batch_size": 4}
PRESET = "golden"
"""A mix of two rewards without networks, and a preset's key for its own mix instead."""
MIX = 'title = "Golden"\nweights = { flow_smoothness = 1.0, loop_break = 0.5 }\n'

# name: (preset, changed keys of the preset, settings). Every algorithm.
QUICK_RUNS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "dpo": ("mini_dpo", {}, PAIRED),
    "dpo_ipo": ("mini_dpo", {}, {**PAIRED, "loss_type": "ipo"}),
    "grpo_flow_grpo": ("mini_grpo", {"mix": PRESET}, GRPO),
    "nft": ("mini_nft", {"mix": PRESET}, {**ONLINE, "num_iterations": 2}),
    "distill_trajectory": ("mini_distill", {}, {**DISTILLED, "target": "trajectory"}),
}
# Their other forms, and the mix of the presets.
OTHER_RUNS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "dpo_hinge": ("mini_dpo", {}, {**PAIRED, "loss_type": "hinge"}),
    "dpo_sft": ("mini_dpo", {}, {**PAIRED, "loss_type": "sft", "prompt_dropout": 0.5}),
    "dpo_smoothed_whole_network": ("mini_dpo", {}, {**PAIRED, "label_smoothing": 0.1, "lora_rank": 0}),
    "grpo_dance_all_steps": (
        "mini_grpo",
        {"mix": PRESET, "rewards": "total"},
        {**GRPO, "sde_form": "dance", "window": None},
    ),
    "grpo_cps_kl": (
        "mini_grpo",
        {"mix": PRESET},
        {**GRPO, "sde_form": "cps", "beta": 0.01, "advantage_scale": "group"},
    ),
    "grpo_own_mix": ("mini_grpo", {}, {**GRPO, "max_steps": 10}),
    "nft_kl_own_mix": ("mini_nft", {}, {**ONLINE, "beta": 0.01, "mixing": 0.5, "levels_per_clip": 1, "max_steps": 10}),
    "distill_consistency": ("mini_distill", {}, {**DISTILLED, "target": "consistency"}),
}
# Values of these metrics depend on the machine's speed and memory.
OF_THE_MACHINE = ("at", "second", "time", "runtime", "gib", "memory", "flos", "rss")
QUICK_CLIPS = ("direct", "keyframes_joint", "windows")
QUICK_TOYS = ("animatediff", "cogvideox", "hunyuanvideo", "ltx", "wan")
MIXES = ("mini", "mini_train", "seed", "motion", "long", "online", "semantic")
PROMPT = "a red circle moving right on a white background"
CLIPS: Mapping[str, Mapping[str, Any]] = {
    "direct": {"num_frames": 17, "num_steps": 5},
    "direct_unguided": {"num_frames": 25, "num_steps": 5, "guidance": 1.0, "seed": 9},
    "keyframes_joint": {
        "num_frames": 33,
        "num_steps": 4,
        "mode": "keyframes",
        "keyframes": {"interval": 16, "keyframe_guidance": 3.0, "flow_guidance": 0.5},
    },
    "keyframes_independent": {
        "num_frames": 17,
        "num_steps": 4,
        "mode": "keyframes",
        "keyframes": {"interval": 16, "keyframe_guidance": 3.0, "source": "independent"},
    },
    "windows": {"num_frames": 41, "num_steps": 4, "mode": "windows", "windows": {"length": 25, "overlap": 9}},
}


def measure_quick(folder: Path) -> dict[str, Any]:
    """The figures that the suite compares; the runs and clips that they come from stay in `folder`."""
    return {
        "seeds": seeds(),
        "request_ids": request_ids(),
        "generation": generation(QUICK_CLIPS),
        "families": families(folder / "toys", QUICK_TOYS),
        "training": training(folder, QUICK_RUNS),
        "rewards": rewards(folder, ("golden",)),
    }


def measure_others(folder: Path) -> dict[str, Any]:
    """The further forms of generation and training, every toy model, and every shipped mix."""
    toys = load_toys()
    names = [name for name in toys.MODELS | toys.OTHERS if name not in QUICK_TOYS]
    return {
        "generation": generation([name for name in CLIPS if name not in QUICK_CLIPS]),
        "families": families(folder / "toys", names),
        "training": training(folder, OTHER_RUNS),
        "rewards": rewards(folder, MIXES),
    }


# ---- Seeds and ids
def seeds() -> dict[str, int]:
    cases = [{}, {"step": 3}, {"prompt": 5}, {"prompt": "a red circle"}, {"sample": 2}]
    cases.append({"step": 3, "prompt": "ein rötlicher Kreis", "sample": 2})
    return {f"{run} {json.dumps(case)}": access.seed_for(run, **case) for run in (0, 42, 2**31) for case in cases}


def requests() -> dict[str, Any]:
    others: dict[str, Any] = {
        "minimal": {},
        "adapter": {"adapter": "mini_grpo-0a1b2c", "negative_prompt": "noise"},
        "other model": {"model": "wan21_1_3b", "width": 832, "height": 480, "num_frames": 81, "fps": 16.0},
        "given": {"mode": "keyframes", "keyframes": {"given": [{"frame": 0, "picture": "0" * 64}]}},
    }
    return {name: access.GenerationRequest(**{"prompt": PROMPT, **one}) for name, one in {**CLIPS, **others}.items()}


def request_ids() -> dict[str, str]:
    return {name: request.id for name, request in requests().items()}


# ---- Generation
def generation(names: Iterable[str]) -> dict[str, Any]:
    """Final latents and frames of the embedded model; with keyframes the latents of each stage."""
    family, found = access.open_mini(), {}
    for name in names:
        with decoded_latents(family) as latents:
            (clip,) = access.make_clips(family, [requests()[name]])
        found[name] = {"latents": [statistics(one) for one in latents], "frames": statistics(clip.frames)}
    return found


class decoded_latents:
    """Within the block, the latents that a family decodes, as arrays."""

    def __init__(self, family: Any) -> None:
        self._family, self._found = family, list[np.ndarray]()

    def __enter__(self) -> list[np.ndarray]:
        decode = self._family.decode

        def heard(latents: Any, *others: Any, **named: Any) -> Any:
            self._found.append(latents.detach().float().cpu().numpy())
            return decode(latents, *others, **named)

        self._family.decode = heard
        return self._found

    def __exit__(self, *_: object) -> None:
        del self._family.decode


def families(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Final latents and decoded frames of toy models."""
    from transformers import PreTrainedTokenizerFast

    toys, parts = load_toys(), access.load_test_module("golden_toy_parts", access.TOY_PARTS)
    parts.make_tokenizer(folder / "words")

    def fill(network: Any, seed: int) -> Any:
        parts.fill(network, seed)
        return network.eval()

    kit = toys.Kit(fill=fill, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "words"))
    found = {}
    for name in sorted(names):
        toy, where = (toys.MODELS | toys.OTHERS)[name], folder / name
        where.mkdir()
        elsewhere = toy.save(toy.build(kit), where, kit)
        family = access.open_toy(
            toy.family, str(where), parts=elsewhere, scheduler=toy.scheduler, context_frames=toy.context_frames
        )
        latents, frames = access.denoise_toy(family, toy, "a red circle moving right", 3)
        found[name] = {"latents": statistics(latents.float().numpy()), "frames": statistics(frames)}
    return found


def load_toys() -> Any:
    return access.load_test_module("golden_toys", access.TOYS)


# ---- Training
Runs = Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]]


def training(folder: Path, runs: Runs) -> dict[str, Any]:
    """Every logged figure of each run, and the weights that it ends with."""
    pairs = write_pairs(folder / "pairs")
    workspace = access.Workspace(folder / "workspace").prepare()
    return {name: train(workspace, pairs, *run) for name, run in runs.items()}


def train(
    workspace: Any, pairs: Path, preset: str, keys: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    changes: dict[str, Any] = {**keys, "settings": {**SHAPE, **LENGTH, **settings}, "alarms": {"every": 0}}
    if preset == "mini_dpo":
        changes["pairs"] = str(pairs)
    run = access.Run.create(workspace, access.load_train_preset(preset, changes))
    code = access.train_in_process(run)
    assert code == 0, f"{preset} ended with code {code}"
    lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {"metrics": [of_the_maths(json.loads(line)) for line in lines], "adapter": weights(run.folder / "adapter")}


def of_the_maths(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of metrics without what depends on the machine."""
    return {name: row[name] for name in sorted(row) if not is_of_the_machine(name)}


def is_of_the_machine(name: str) -> bool:
    return any(part in OF_THE_MACHINE for part in re.split(r"[/_]", name.lower()))


def write_pairs(folder: Path) -> Path:
    """Four pairs of drawn clips, a square that moves and one that flickers; the file is what a DPO run reads."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(4):
        for side in ("chosen", "rejected"):
            access.write_lossless(folder / f"{side}{number}.mkv", drawn(number, flickers=side == "rejected"), 8.0)
        names = {side: f"{side}{number}.mkv" for side in ("chosen", "rejected")}
        lines.append(
            json.dumps({"prompt": f"a square moving right, number {number}", **names, "score": 0.2 + 0.2 * number})
        )
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "pairs.jsonl"


def drawn(number: int, *, flickers: bool) -> np.ndarray:
    """`uint8[17,64,64,3]`."""
    frames = np.full((17, 64, 64, 3), 200, np.uint8)
    for index, frame in enumerate(frames):
        left = 4 + 2 * index
        colour = (30 * number, 120, 40 + 100 * (index % 2 if flickers else 1))
        frame[20 : 36 + number, left : left + 16] = colour
    return frames


def weights(folder: Path) -> dict[str, Any]:
    """The adapter's tensors, in the order of their names, as one."""
    from safetensors.numpy import load_file

    tensors = {name: array for file in sorted(folder.rglob("*.safetensors")) for name, array in load_file(file).items()}
    whole = np.concatenate([tensors[name].astype(np.float32).ravel() for name in sorted(tensors)])
    names = hashlib.sha256("\n".join(sorted(tensors)).encode()).hexdigest()
    return {"tensors": len(tensors), "names_sha256": names, **statistics(whole)}


# ---- Rewards
def rewards(folder: Path, mixes: tuple[str, ...]) -> dict[str, Any]:
    """Reports of two shipped clips by each of the mixes, through the command line."""
    found: dict[str, Any] = {}
    for mix in mixes:
        for clip in ("real_portrait", "real_carphone"):
            found[f"{mix} {clip}"] = score(folder, clip, mix)
    return found


def score(folder: Path, clip: str, mix: str) -> dict[str, Any]:
    file = access.ROOT / "assets" / "calibration" / "clips" / f"{clip}.mp4"
    out = run_command("score", str(file), "--prompt", "a man looks up", "--mix", mix, folder=folder / "scored")
    report = json.loads(out)["clips"][0]["report"]
    values = {key: {"value": one["value"], "raw": one["raw"]} for key, one in sorted(report["results"].items())}
    return {"total": report["total"], "results": values}


def run_command(*words: str, folder: Path) -> str:
    """What `dailies WORDS --json` prints. Raises AssertionError where it fails."""
    import io
    from contextlib import redirect_stdout

    printed = io.StringIO()
    with redirect_stdout(printed):
        code = access.main([*words, "--json", "--workspace", str(folder)])
    assert code == 0, f"dailies {' '.join(words)} ended with code {code}: {printed.getvalue()}"
    return printed.getvalue()


# ---- Numbers
def statistics(array: Any) -> dict[str, Any]:
    """Shape, hash, and figures that nearly any change moves: moments and sums under fixed random signs."""
    array = np.ascontiguousarray(array)
    flat = array.astype(np.float64).ravel()
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (2, flat.size))
    return {
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "signed_means": [float(one) for one in signs @ flat / flat.size],
    }


def machine() -> dict[str, str]:
    """What must be equal for two recordings to be equal to the last bit."""
    import platform

    import torch

    cpu = next((line.split(":", 1)[1].strip() for line in cpu_lines() if line.startswith("model name")), "unknown")
    facts = {"cpu": cpu, "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return {**facts, "capability": torch.backends.cpu.get_cpu_capability()}


def cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def differences(recorded: Any, found: Any, *, exact: bool, where: str = "") -> Iterator[str]:
    """One line for each difference; where not `exact`, floats within RELATIVE or ABSOLUTE are equal, and hashes are
    not compared."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for name in sorted(recorded.keys() | found.keys()):
            place = f"{where}/{name}"
            if name not in found:
                yield f"{place}: missing, recorded {shortened(recorded[name])}"
            elif name not in recorded:
                yield f"{place}: new, {shortened(found[name])}"
            elif exact or name != "sha256":
                yield from differences(recorded[name], found[name], exact=exact, where=place)
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        for index, (left, right) in enumerate(zip(recorded, found, strict=True)):
            yield from differences(left, right, exact=exact, where=f"{where}/{index}")
    elif not equal(recorded, found, exact=exact):
        yield f"{where}: recorded {shortened(recorded)}, found {shortened(found)}"


RELATIVE, ABSOLUTE = 5e-2, 5e-3


def equal(left: Any, right: Any, *, exact: bool) -> bool:
    if isinstance(left, float) and isinstance(right, int | float) and not isinstance(right, bool):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return left == right if exact else math.isclose(left, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(left) is type(right) and bool(left == right)


def shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."


def prepare(folder: Path) -> None:
    """Called before anything is loaded: the CPU, no network, the presets of `folder` and nobody else's."""
    presets = folder / "presets"
    (presets / "rewards").mkdir(parents=True)
    (presets / "rewards" / f"{PRESET}.toml").write_text(MIX)
    os.environ |= {"DAILIES_PRESETS": str(presets), "DAILIES_WORKSPACE": str(folder / "workspace")}
