"""An iteration of GRPO on mini against a plain script of the same arithmetic: rollout, decode, score, update.

The plain side is what the field's scripts do, written with diffusers' classes alone: it encodes the prompts of each
batch, steps by Flow-GRPO's SDE (Eq. 9, arXiv:2505.05470) in the window, decodes clip by clip, scores, and replays the
window's steps with gradients. Its text is padded to the encoder's length, ours only to the longest prompt of a batch.
Both have the preset `mini_grpo` and the same reward, and run in turn, the order swapped. Bar: 0.85. The gradients of
one update, from the same rollout, must be the same, or the times say nothing.

Then the same with a reward that takes as long as the rollout, like a call of a server: ours scores the clips of a
prompt while the next ones are decoded or generated. Bar: 0.67.

Counted besides, with a bar of 1: rows that pass the network, over the fewest there can be (each step of each clip once,
each step of the window once more, for its gradient); and prompts encoded, over the prompts that there are.
"""

import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from measurement import report
from torch import Tensor

from engine.config.presets import load_preset, load_train_preset
from engine.config.prompts import read_prompts
from engine.families.registry import open_model
from engine.sampling.schedules import sigmas_for
from engine.training.trainer_settings import VideoGRPOConfig
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.online import RolloutBatch
from engine.training.weights import trainable
from rewards.clip import Clip

BAR, SLOW_BAR = 0.85, 0.67
PAIRS = 5
SAME = 1e-4  # relative, of gradients
PARTS = ("rollout", "decode", "score", "update")


class Brightness:
    """Reward that costs no computation; `delay_s` per clip is the time of a server's answer."""

    __name__, splittable, delay_s = "brightness", True, 0.0

    def __call__(self, prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float]:
        time.sleep(self.delay_s * len(completions))
        return [float(clip.frames.mean()) / 255 for clip in completions]


brightness = Brightness()


# ---- The plain script
class Plain:
    """The same preset, by hand. `network` is the trainer's own, with its LoRA."""

    def __init__(self, trainer: VideoGRPOTrainer) -> None:
        self.args, self.family, self.network = trainer.args, trainer.family, trainer.family.network
        request = trainer.template
        self.scale, self.fps = (4 / request.fps, 16, 16), request.fps
        self.shape = (48, 1 + (request.num_frames - 1) // 4, request.height // 16, request.width // 16)
        tokens = math.prod(self.shape[1:])
        self.sigmas = sigmas_for(self.family.scheduler_config, request.num_steps, tokens).tolist()
        self.window = list(trainer.sde_steps([request])[0])

    def velocity(self, latents: Tensor, sigma: float, text: tuple[Tensor, Tensor]) -> Tensor:
        frames, height, width = latents.shape[2:]
        output = self.network(
            hidden_states=latents.flatten(2).transpose(1, 2),
            encoder_hidden_states=text[0],
            encoder_attention_mask=text[1],
            timestep=torch.full((len(latents),), 1000 * sigma),
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=self.scale,
            return_dict=False,
        )[0]
        return output.transpose(1, 2).unflatten(2, (frames, height, width))

    def sde(self, latents: Tensor, velocity: Tensor, index: int) -> tuple[Tensor, float]:
        """Mean and std of the next latents."""
        sigma, sigma_next = self.sigmas[index], self.sigmas[index + 1]
        step = sigma_next - sigma
        level = self.args.sde_noise_level * math.sqrt(sigma / (1 - (sigma if sigma < 1 else sigma_next)))
        towards = velocity + level**2 / (2 * sigma) * (latents + (1 - sigma) * velocity)
        return latents + step * towards, level * math.sqrt(-step)

    @staticmethod
    def log_prob(latents: Tensor, mean: Tensor, std: float) -> Tensor:
        density = -((latents - mean) ** 2) / (2 * std**2) - math.log(std) - 0.5 * math.log(2 * math.pi)
        return density.flatten(1).mean(1)

    @torch.no_grad()
    def roll_out(self, text: tuple[Tensor, Tensor], count: int) -> tuple[Tensor, list[Any]]:
        latents, kept = torch.randn(count, *self.shape), []
        for index, sigma in enumerate(self.sigmas[:-1]):
            velocity = self.velocity(latents, sigma, text)
            if index not in self.window:
                latents = latents + (self.sigmas[index + 1] - sigma) * velocity
                continue
            mean, std = self.sde(latents, velocity, index)
            taken = mean + std * torch.randn_like(mean)
            kept.append((index, latents, taken, self.log_prob(taken, mean, std)))
            latents = taken
        return latents, kept

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Any]:
        vae = self.family.vae
        mean, std = (value.view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
        clips = []
        for one in latents.split(1):
            pixels = vae.decode(one * std + mean, None, return_dict=False)[0]
            clips.append(((pixels[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy())
        return clips

    def losses(self, kept: list[Any], text: tuple[Tensor, Tensor], advantages: Tensor) -> Iterator[Tensor]:
        for index, latents, taken, old in kept:
            mean, std = self.sde(latents, self.velocity(latents, self.sigmas[index], text), index)
            ratio = (self.log_prob(taken, mean, std) - old).exp()
            clipped = ratio.clamp(1 - self.args.epsilon, 1 + self.args.epsilon)
            yield -torch.minimum(ratio * advantages, clipped * advantages).mean() / len(kept)

    def iteration(self, prompts: Sequence[str]) -> dict[str, float]:
        """Seconds of each part of one iteration over the prompts of a generation batch."""
        times: Counter[str] = Counter()
        group, size = self.args.num_generations, self.args.rollout_batch or len(prompts)
        made: list[Any] = []
        rewards: list[float] = []
        for start in range(0, len(prompts), size):
            names = list(prompts[start : start + size])
            with timed(times, "rollout"):
                encoded = self.family.encode(names)
                text = (encoded.embeds, encoded.mask)
                latents, kept = self.roll_out(text, len(names))
            with timed(times, "decode"):
                frames = self.decode(latents)
            with timed(times, "score"):
                clips = [Clip(frames=f, fps=self.fps, prompt=p) for f, p in zip(frames, names, strict=True)]
                rewards += brightness(names, clips)
            made.append((kept, text))
        grouped = torch.tensor(rewards).view(-1, group)
        advantages = ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)).flatten()
        kept = joined([kept for kept, _ in made])
        text = torch.cat([embeds for _, (embeds, _) in made]), torch.cat([mask for _, (_, mask) in made])
        batch = self.args.per_device_train_batch_size
        with timed(times, "update"):
            for start in range(0, len(prompts), batch):
                rows = slice(start, start + batch)
                own = [(index, *(part[rows] for part in parts)) for index, *parts in kept]
                for loss in self.losses(own, tuple(part[rows] for part in text), advantages[rows]):  # type: ignore[arg-type]
                    (loss * batch / len(prompts)).backward()
        self.network.zero_grad(set_to_none=True)
        return dict(times)


def joined(batches: list[Any]) -> list[Any]:
    return [
        (steps[0][0], *(torch.cat(parts) for parts in zip(*(step[1:] for step in steps), strict=True)))
        for steps in zip(*batches, strict=True)
    ]


@contextmanager
def timed(times: Counter[str], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times[part] += time.perf_counter() - began


# ---- Ours
def iteration(trainer: VideoGRPOTrainer) -> dict[str, float]:
    trainer.sums.clear()
    batches = trainer.first_generation_batch()
    times = {part: trainer.sums[f"time/{part}"][0] for part in PARTS[:3]}
    began = time.perf_counter()
    backward(trainer, batches)
    trainer.family.network.zero_grad(set_to_none=True)
    return {**times, "update": time.perf_counter() - began}


def backward(trainer: VideoGRPOTrainer, batches: Sequence[RolloutBatch]) -> None:
    for batch in batches:
        for part in trainer.losses(batch):
            (part / len(batches)).backward()


def gradients(network: Any) -> Tensor:
    found = torch.cat([p.grad.flatten() for _, p in trainable(network) if p.grad is not None])
    network.zero_grad(set_to_none=True)
    return found


def check_gradients(trainer: VideoGRPOTrainer, plain: Plain) -> float:
    """How far apart the gradients are that both take from one rollout of ours, relative."""
    (batch, *_) = trainer.first_generation_batch()
    backward(trainer, [batch])
    ours = gradients(trainer.family.network)
    rows = trainer.prompts.rows(batch.prompts)
    kept = [
        (step.index[0], step.latents[batch.index], step.next_latents[batch.index], step.log_prob[batch.index])
        for step in batch.rollouts.steps
        if step.log_prob is not None
    ]
    for loss in plain.losses(kept, (rows.embeds, rows.mask), batch.advantages):
        loss.backward()
    return float((ours - gradients(trainer.family.network)).norm() / ours.norm())


def count(trainer: VideoGRPOTrainer) -> tuple[float, float]:
    """Rows through the network over the fewest, and prompts encoded over prompts, of one iteration."""
    rows, encoded = [0], trainer.prompts.encoded
    hook = trainer.family.network.register_forward_pre_hook(
        lambda _module, _inputs, named: rows.append(len(named["hidden_states"])), with_kwargs=True
    )
    batches = trainer.first_generation_batch()
    backward(trainer, batches)
    trainer.family.network.zero_grad(set_to_none=True)
    hook.remove()
    clips, steps = trainer.args.generation_batch_size, trainer.template.num_steps
    prompts = clips // trainer.args.num_generations
    return sum(rows) / (clips * (steps + len(trainer.sde_steps([trainer.template])[0]))), (
        trainer.prompts.encoded - encoded
    ) / prompts


def compare(trainer: VideoGRPOTrainer, plain: Plain, prompts: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return the median ratio of the iterations' times, ours over plain, and the median seconds of their parts."""
    found: list[tuple[dict[str, float], dict[str, float]]] = []
    for pair in range(PAIRS + 1):  # the first warms both up
        sides = [lambda: iteration(trainer), lambda: plain.iteration(prompts)]
        times = [sides[side]() for side in ((0, 1) if pair % 2 else (1, 0))]
        found.append((times[0], times[1]) if pair % 2 else (times[1], times[0]))
    split = {
        f"{side}_{part}_s": round(statistics.median(times[place][part] for times in found[1:]), 3)
        for place, side in enumerate(("ours", "plain"))
        for part in PARTS
    }
    return statistics.median(sum(ours.values()) / sum(theirs.values()) for ours, theirs in found[1:]), split


def main() -> int:
    preset = load_train_preset("mini_grpo")
    with tempfile.TemporaryDirectory() as folder:
        settings = {**preset.settings, "output_dir": folder, "use_cpu": True, "report_to": "none", "disable_tqdm": True}
        trainer = VideoGRPOTrainer(
            model=open_model(load_preset("models", "mini"), device="cpu"),
            reward_funcs=brightness,
            args=VideoGRPOConfig(**settings),
            train_dataset=read_prompts("mini"),
        )
        with torch.no_grad():  # a new LoRA's second factor is zero, and half of the gradients with it
            for number, (_, parameter) in enumerate(trainable(trainer.family.network)):
                parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        recomputed, encoded = count(trainer)
        results = [
            report("grpo_network_rows", recomputed, "of the fewest", bar=1),
            report("grpo_prompts_encoded", encoded, "of the prompts", bar=1),
            report("grpo_prompts_encoded_again", count(trainer)[1], "of the prompts", bar=0),
        ]
        plain, prompts = Plain(trainer), read_prompts("mini")[: trainer.args.generation_batch_size]
        size = trainer.args.num_generations
        prompts = [prompt for prompt in prompts[: len(prompts) // size] for _ in range(size)]
        apart = check_gradients(trainer, plain)
        if not apart <= SAME:
            raise RuntimeError(f"The gradients differ by {apart:.1e}, so that the times say nothing.")
        ratio, split = compare(trainer, plain, prompts)
        results.append(report("grpo_iteration_vs_plain", ratio, "ratio", bar=BAR, gradients_apart=apart, **split))
        brightness.delay_s = split["plain_rollout_s"] / len(prompts)
        ratio, split = compare(trainer, plain, prompts)
        results.append(report("grpo_iteration_vs_plain_slow_reward", ratio, "ratio", bar=SLOW_BAR, **split))
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
