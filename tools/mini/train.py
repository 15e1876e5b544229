"""Train `mini` from scratch: `python -m tools.mini.train` or `make mini`. Every phase can be resumed.

    vae      the video autoencoder: content, then shapes     -> <work>/vae
    text     the text encoder and its tokenizer              -> <work>/text_encoder, <work>/tokenizer
    latents  rendered clips as latents, in shards            -> <work>/latents
    dit      the flow-matching transformer                   -> <work>/dit.pt
    export   the diffusers folder, bf16 at rest              -> --out (assets/mini)

`--device cuda` trains the transformer on a GPU, `--scale` multiplies the batch size, `--data` the number of shards, and
`--workers` renders in several processes. training.json holds the figures of the embedded weights.

Flow matching as in LTX: x_s = (1-s) x_0 + s eps, target v = eps - x_0, model time 1000 s. To train keyframe
conditioning, some batches keep some latent frames clean or add clean single pictures as further tokens at their own
time; each token has its own noise level. One prompt in ten is dropped for classifier-free guidance.
"""

import argparse
import json
import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXPipeline, LTXVideoTransformer3DModel
from torch import Tensor, nn
from transformers import AutoTokenizer, T5EncoderModel

from engine.errors import TrainingError
from engine.mini import world
from tools.mini import autoencoder, text
from tools.mini.latents import GRID, PICTURES, STRIDE, TARGET_DIM, Shard, load_shard, make_shard, renderers

log = logging.getLogger(__name__)

DIT = dict(
    in_channels=48,
    out_channels=48,
    num_attention_heads=6,
    attention_head_dim=32,
    cross_attention_dim=192,
    num_layers=7,
    caption_channels=text.WIDTH,
)
SHIFT = 2.0  # of the sampling schedule
TOLD_BY = 3  # the block whose tokens predict the ground truth
TOLD_WEIGHT = 0.5
SHARDS = {33: 8, 17: 4, 65: 6, 129: 8}  # number of shards of each length at `--data 1`
SHARE = {17: 0.10, 33: 0.25, 65: 0.20, 129: 0.45}  # of the training batches
TOKENS_PER_BATCH = 2112  # at scale 1: four clips of 129 frames
EMA = 0.998
SEEN = 0.98  # decay of the running mean of the logged losses
EARLY_AT, EARLY_SHARE = 0.45, 0.3  # see `export`


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Progress of the transformer's training.

    `elapsed_s` is the time of all runs in seconds up to the last saved step; NaN if the checkpoint lacks it. `early`
    holds the averaged weights at the share `EARLY_AT` of the training; None before that. `early_step` is the step at
    which they were taken, which is another share if the training has been given another length since.
    """

    step: int = 0
    elapsed_s: float = 0.0
    early: dict[str, Tensor] | None = None
    early_step: int | None = None


class Data:
    """Shards in memory, and batches of clips of one length. `refresh` loads new shards."""

    def __init__(self, work: Path, device: str, tokens_per_batch: int) -> None:
        self.folder, self.device, self.tokens_per_batch = work / "latents", device, tokens_per_batch
        self.encoder = T5EncoderModel.from_pretrained(work / "text_encoder", dtype=torch.float32).eval().to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
        self.shards: dict[int, list[tuple[Shard, Tensor, Tensor]]] = {}
        self.paths: set[Path] = set()
        self.empty = self._encode([""])

    def refresh(self) -> None:
        for path in sorted(self.folder.glob("latents-*.pt")):
            if path not in self.paths:
                shard = load_shard(path, self.device)
                self.shards.setdefault(int(path.stem.split("-")[1]), []).append((shard, *self._encode(shard.prompts)))
                self.paths.add(path)

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        ids, mask = (part.to(self.device) for part in text.tokenize(self.tokenizer, prompts))
        return self.encoder(ids)[0].half(), mask

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        lengths = sorted(self.shards)
        share = np.array([SHARE[n] for n in lengths])
        num_frames = int(rng.choice(lengths, p=share / share.sum()))
        shard, embeds, mask = self.shards[num_frames][int(rng.integers(len(self.shards[num_frames])))]
        count = min(len(shard.prompts), self.tokens_per_batch // (shard.latents.shape[1] * GRID**2))
        rows = torch.from_numpy(rng.choice(len(shard.prompts), count, replace=False)).to(self.device)
        embeds, mask = embeds[rows].float(), mask[rows].clone()
        dropped = torch.from_numpy(rng.random(count) < 0.1).to(self.device)
        embeds[dropped], mask[dropped] = self.empty[0].float(), self.empty[1]
        longest = int(mask.sum(dim=1).max())
        return {
            "x0": shard.latents[rows].float(),
            "pictures": shard.pictures[rows].float(),
            "picture_frames": shard.picture_frames[rows],
            "targets": shard.targets[rows].float(),
            "embeds": embeds[:, :longest],
            "mask": mask[:, :longest],
        }


def coordinates(frames: Tensor) -> Tensor:
    """Convert pixel frames `[B,t]` to RoPE coordinates `[B,3,t*16]` in seconds and pixels."""
    batch, count = frames.shape
    place = torch.arange(GRID, dtype=torch.float32, device=frames.device) * 16
    y, x = torch.meshgrid(place, place, indexing="ij")
    seconds = (frames.float() / world.FPS)[:, :, None].expand(batch, count, GRID**2)
    grid = [seconds, y.reshape(1, 1, -1).expand_as(seconds), x.reshape(1, 1, -1).expand_as(seconds)]
    return torch.stack(grid, dim=1).flatten(2)


def loss_of(
    model: LTXVideoTransformer3DModel, teller: nn.Module, batch: dict[str, Tensor], rng: np.random.Generator
) -> dict[str, Tensor]:
    """Return the flow-matching loss of the noisy tokens, and the auxiliary loss of a middle layer.

    The auxiliary loss is the squared error of predicting `Shard.targets` from the tokens of the block `TOLD_BY`.
    """
    x0, (count, num_latents) = batch["x0"], batch["x0"].shape[:2]
    device = x0.device
    drawing = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(x0.shape, generator=drawing, device=device)
    level = 1 / (1 + np.exp(-rng.normal(0.4, 1.1, count)))
    level = np.where(rng.random(count) < 0.15, rng.random(count), level).astype(np.float32)
    sigma = torch.from_numpy(level).to(device)[:, None].repeat(1, num_latents)
    kind = rng.choice(["plain", "hold", "pictures"], p=[0.6, 0.15, 0.25])
    if kind == "hold":  # some latent frames are given clean
        held = torch.from_numpy(rng.random(sigma.shape) < rng.uniform(0.1, 0.6)).to(device)
        sigma = torch.where(held, 0.0, sigma)
    s = sigma[:, :, None, None]
    tokens, target = (1 - s) * x0 + s * noise, noise - x0
    frames = (STRIDE * torch.arange(num_latents, device=device)).repeat(count, 1)
    level_of_token = sigma
    if kind == "pictures":
        given = int(rng.integers(1, PICTURES + 1))
        tokens = torch.cat([tokens, batch["pictures"][:, :given]], dim=1)
        frames = torch.cat([frames, batch["picture_frames"][:, :given]], dim=1)
        level_of_token = torch.cat([sigma, torch.zeros(count, given, device=device)], dim=1)
    told: list[Tensor] = []
    hook = model.transformer_blocks[TOLD_BY].register_forward_hook(lambda _m, _i, out: told.append(teller(out)))
    output = model(
        hidden_states=tokens.flatten(1, 2),
        encoder_hidden_states=batch["embeds"],
        timestep=(1000 * level_of_token).repeat_interleave(GRID**2, dim=1),
        encoder_attention_mask=batch["mask"],
        video_coords=coordinates(frames),
        return_dict=False,
    )[0]
    hook.remove()
    length = num_latents * GRID**2
    noisy = (sigma > 0).float()[:, :, None, None].expand_as(x0)
    error = (output[:, :length].unflatten(1, (num_latents, -1)).float() - target).square() * noisy
    told_error = (told[0][:, :length].unflatten(1, (num_latents, -1)).float() - batch["targets"]).square().mean()
    return {"flow": error.sum() / noisy.sum().clamp(min=1), "told": told_error}


def optimizers(model: nn.Module, teller: nn.Module) -> list[torch.optim.Optimizer]:
    """Create Muon for the matrices of the blocks, and AdamW for the rest."""
    matrices = [
        p for n, p in model.named_parameters() if p.ndim == 2 and "transformer_blocks" in n and "table" not in n
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in [*model.parameters(), *teller.parameters()] if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=2e-3, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adam]


def train_dit(
    work: Path, num_steps: int, seed: int, device: str = "cpu", scale: int = 1, minutes: float = float("inf")
) -> None:
    """Train the transformer, or resume its training, until `num_steps` or `minutes` is reached.

    Both limits include earlier, interrupted runs. The learning rate decays over the last 30 %. A checkpoint is saved
    every 200 steps.
    """
    torch.manual_seed(seed)
    data = Data(work, device, scale * TOKENS_PER_BATCH)
    model = LTXVideoTransformer3DModel(**DIT).to(device)
    teller = nn.Linear(DIT["num_attention_heads"] * 32, TARGET_DIM).to(device)
    nn.init.zeros_(model.proj_out.weight)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA))
    optimizer_list = optimizers(model, teller)
    state = {"model": model, "teller": teller, "average": average, "muon": optimizer_list[0], "adam": optimizer_list[1]}
    reached = _resume(work / "dit.pt", state, device, num_steps, minutes)
    step, elapsed_s, early, early_step = reached.step, reached.elapsed_s, reached.early, reached.early_step
    log.info("DiT parameters: %.2f M, from step %d", sum(p.numel() for p in model.parameters()) / 1e6, step)
    began_s, seen = time.monotonic() - elapsed_s, dict.fromkeys(("flow", "told"), torch.zeros((), device=device))
    done = share_done(step, num_steps, elapsed_s, minutes)
    while done < 1:
        if step % 200 == 0 or not data.shards:
            data.refresh()
        rate = min(1, (step + 1) / 150) * min(1.0, (1 - done) / 0.3)
        for group in (g for o in optimizer_list for g in o.param_groups):
            group["lr"] = group["peak"] * rate
        rng = np.random.default_rng([seed, 5, step])
        with torch.autocast(device, torch.bfloat16):
            losses = loss_of(model, teller, data.batch(rng), rng)
        (losses["flow"] + TOLD_WEIGHT * losses["told"]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizer_list:
            optimizer.step()
            optimizer.zero_grad()
        average.update_parameters(model)
        step += 1
        elapsed_s = time.monotonic() - began_s
        done = share_done(step, num_steps, elapsed_s, minutes)
        seen = {name: torch.lerp(losses[name].detach(), before, SEEN) for name, before in seen.items()}
        if step % 200 == 0 or done >= 1:
            debias = 1 - SEEN ** min(step - reached.step, 1000)
            told = {k: round(v.item() / debias, 4) for k, v in seen.items()}
            log.info("dit step %d  %.0f s  %s  shards %d", step, elapsed_s, told, len(data.paths))
            if early is None and done >= EARLY_AT:
                early = {name: value.clone() for name, value in _averaged(average.state_dict()).items()}
                early_step = step
            now = {"step": step, "elapsed_s": elapsed_s, "early": early, "early_step": early_step, "scale": scale}
            _save(work / "dit.pt", state | now)


def share_done(step: int, num_steps: int, elapsed_s: float, minutes: float) -> float:
    """Return the completed share of a training by steps or by time, whichever is larger; >= 1 at its end.

    `elapsed_s` may be NaN if `minutes` is infinite.
    """
    return max(step / num_steps, elapsed_s / (60 * minutes) if math.isfinite(minutes) else 0.0)


def _save(path: Path, state: dict[str, Any]) -> None:
    parts = {k: v.state_dict() if hasattr(v, "state_dict") else v for k, v in state.items()}
    torch.save(parts, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _averaged(average: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network from the state of its `AveragedModel`."""
    return {name.removeprefix("module."): value for name, value in average.items() if name.startswith("module.")}


def _resume(path: Path, state: dict[str, Any], device: str, num_steps: int, minutes: float) -> Reached:
    """Load the checkpoint `path` into the parts of `state`.

    Raises TrainingError if the checkpoint lacks data that is needed to resume.
    """
    if not path.exists():
        return Reached()
    saved = torch.load(path, weights_only=True, map_location=device)
    step, elapsed_s = int(saved["step"]), float(saved.get("elapsed_s", math.nan))
    if "early" not in saved and step / num_steps >= EARLY_AT:
        raise TrainingError(
            f"{path} is at step {step} of {num_steps} without the average at {100 * EARLY_AT:.0f} % of the training, "
            "which the exported model needs: remove it to train the transformer from scratch."
        )
    if math.isfinite(minutes) and math.isnan(elapsed_s):
        raise TrainingError(
            f"{path} does not record its training time, so a limit of {minutes:g} minutes cannot be applied: "
            "resume without --minutes, or remove the file to train the transformer from scratch."
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return Reached(step=step, elapsed_s=elapsed_s, early=saved.get("early"), early_step=saved.get("early_step"))


def export(work: Path, out: Path) -> None:
    """Write the diffusers folder in bf16 from averaged weights.

    The weights are a mix: the share `EARLY_SHARE` from the point `EARLY_AT` of the training, the rest from its end.
    This keeps the model imperfect on purpose. A fully trained model makes nearly as few mistakes as its autoencoder
    allows, also in 3 steps (the judge accepts 0.898 of its clips in 8 steps, and 0.937 of real clips after encoding and
    decoding), so that reinforcement learning could show no improvement.

    Raises TrainingError if dit.pt does not record the weights at `EARLY_AT`.
    """
    transformer = LTXVideoTransformer3DModel(**DIT)
    saved_state = torch.load(work / "dit.pt", weights_only=True, map_location="cpu")
    if "early" not in saved_state:
        raise TrainingError(
            f"{work / 'dit.pt'} lacks the average at {100 * EARLY_AT:.0f} % of the training, which the "
            "exported model needs: run the phase dit first."
        )
    weights, early = _averaged(saved_state["average"]), saved_state["early"]
    if early is not None:
        weights = {name: torch.lerp(value, early[name], EARLY_SHARE) for name, value in weights.items()}
    transformer.load_state_dict(weights)
    pipeline = LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=AutoencoderKLLTXVideo.from_pretrained(work / "vae"),
        text_encoder=T5EncoderModel.from_pretrained(work / "text_encoder"),
        tokenizer=AutoTokenizer.from_pretrained(work / "tokenizer"),
        transformer=transformer,
    )
    pipeline.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)
    record = {name: json.loads((work / f"{name}.json").read_text()) for name in ("vae", "text")}
    batch = {"tokens_a_batch": saved_state["scale"] * TOKENS_PER_BATCH, "share_of_lengths": SHARE}
    part = {"early_step": saved_state.get("early_step"), "early_share": EARLY_SHARE if early is not None else 0.0}
    record["dit"] = {"steps": saved_state["step"], **batch, **part}
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    log.info("exported to %s", out)


def make_latents(work: Path, seed: int, device: str = "cpu", times: int = 1, workers: int = 1) -> None:
    """Make all shards with interleaved lengths, so that a training can run at the same time."""
    (work / "latents").mkdir(exist_ok=True)
    wanted = {num_frames: times * count for num_frames, count in SHARDS.items()}
    with renderers(workers) as render_all:
        vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae", torch_dtype=torch.float32).eval().to(device)
        for index in range(max(wanted.values())):
            for num_frames, count in wanted.items():
                if index < count:
                    make_shard(vae, work / "latents", num_frames, index, seed, render_all)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/mini"), help="checkpoints and cached latents")
    parser.add_argument("--out", type=Path, default=Path("assets/mini"))
    parser.add_argument("--phases", default="vae,text,latents,dit,export")
    parser.add_argument("--vae-steps", type=int, default=2000)
    parser.add_argument("--dit-steps", type=int, default=5000)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="time limit of the phase dit over all its runs"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="device of the phases latents and dit: cpu or cuda")
    parser.add_argument("--scale", type=int, default=1, help="factor of the batch size")
    parser.add_argument("--data", type=int, default=1, help="factor of the number of shards")
    parser.add_argument("--workers", type=int, default=1, help="processes that render clips")
    args = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    phases = args.phases.split(",")
    if "vae" in phases and not (args.work / "vae.json").exists():
        autoencoder.train(args.work / "vae", args.vae_steps, autoencoder.content_loss, args.seed)
        psnr_db = autoencoder.train(args.work / "vae", args.vae_steps, autoencoder.shape_loss, args.seed + 1)
        _record(args.work / "vae.json", psnr_db=psnr_db, steps=2 * args.vae_steps, seed=args.seed)
    if "text" in phases and not (args.work / "text.json").exists():
        _record(args.work / "text.json", accuracy=text.train(args.work, seed=args.seed), seed=args.seed)
    if "latents" in phases:
        make_latents(args.work, args.seed, args.device, args.data, args.workers)
    if "dit" in phases:
        train_dit(args.work, args.dit_steps, args.seed, args.device, args.scale, args.minutes)
    if "export" in phases:
        export(args.work, args.out)


def _record(path: Path, **figures: float) -> None:
    path.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
