"""Training data of the video model: shards of rendered scenes as latents.

A shard holds clips of one length: whitened latents `float16[N,t,16,C]`, three single frames of each clip as latents
`float16[N,3,16,C]` with their frame numbers, the prompts, and the labels of each token (see `targets`).
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from engine.mini import world
from tools.mini.autoencoder import to_model_space

SHARD_CLIPS = 250
PICTURES = 3
TARGET_DIM = len(world.BACKGROUNDS) + 1 + 6 + len(world.SHAPES) + len(world.COLOURS)
GRID = world.SIZE_PX // 16  # latents along a side of the picture
STRIDE = 4  # frames in a latent


ENCODED_TOGETHER = 25
RenderAll = Callable[[Sequence[world.Scene], int], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    latents: Tensor
    pictures: Tensor
    picture_frames: Tensor
    targets: Tensor
    prompts: list[str]


def shard_path(folder: Path, num_frames: int, index: int) -> Path:
    return folder / f"latents-{num_frames:03d}-{index:04d}.pt"


def whiten(vae: AutoencoderKLLTXVideo, latents: Tensor) -> Tensor:
    """Normalise each channel to zero mean and unit standard deviation, as LTXPipeline does."""
    mean, std = (v.view(1, -1, 1, 1, 1) for v in (vae.latents_mean, vae.latents_std))
    return (latents - mean) / std


def tokens_of(latents: Tensor) -> Tensor:
    """Convert `[B,C,t,h,w]` to `[B,t,h*w,C]`."""
    return latents.flatten(3).permute(0, 2, 3, 1)


def render_here(scenes: Sequence[world.Scene], num_frames: int) -> np.ndarray:
    """Render the scenes in this process, `uint8[B,T,H,W,3]`."""
    return np.stack([world.render(scene, num_frames) for scene in scenes])


@contextmanager
def renderers(workers: int) -> Iterator[RenderAll]:
    """Provide a function that renders scenes in `workers` processes.

    The processes are forked on entry: enter before a GPU is used.
    """
    if workers == 1:
        yield render_here
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        pool.submit(int).result()
        yield lambda scenes, num_frames: np.stack(
            list(pool.map(world.render, scenes, itertools.repeat(num_frames), chunksize=-(-len(scenes) // workers)))
        )


@torch.no_grad()
def make_shard(
    vae: AutoencoderKLLTXVideo,
    folder: Path,
    num_frames: int,
    index: int,
    seed: int = 0,
    render_all: RenderAll = render_here,
) -> None:
    """Render, encode on the device of the VAE and save one shard of training scenes, atomically."""
    path = shard_path(folder, num_frames, index)
    if path.exists():
        return
    rng = np.random.default_rng([seed, 4, num_frames, index])
    scenes = [world.sample_scene(rng, held_out=False) for _ in range(SHARD_CLIPS)]
    prompts = [world.prompt(scene, rng) for scene in scenes]
    chosen = torch.from_numpy(rng.integers(0, num_frames, (len(scenes), PICTURES)))
    rendered = torch.from_numpy(render_all(scenes, num_frames))
    latents, pictures = [], []
    for frames, places in zip(rendered.split(ENCODED_TOGETHER), chosen.split(ENCODED_TOGETHER), strict=True):
        shown = to_model_space(frames.to(vae.device))
        with torch.autocast(vae.device.type, torch.bfloat16):
            latents.append(_encoded(vae, shown))
            single = torch.stack([f[:, i] for f, i in zip(shown, places, strict=True)]).transpose(1, 2).flatten(0, 1)
            pictures.append(_encoded(vae, single[:, :, None])[:, 0].unflatten(0, (-1, PICTURES)))
    shard = {
        "latents": torch.cat(latents),
        "pictures": torch.cat(pictures),
        "picture_frames": chosen,
        "targets": torch.from_numpy(np.stack([targets(scene, num_frames) for scene in scenes])).half(),
        "prompts": prompts,
    }
    torch.save(shard, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _encoded(vae: AutoencoderKLLTXVideo, frames: Tensor) -> Tensor:
    """Return whitened latents `float16[B,t,16,C]` on the CPU."""
    return tokens_of(whiten(vae, vae.encode(frames).latent_dist.mean.float())).half().cpu()


def load_shard(path: Path, device: str = "cpu") -> Shard:
    return Shard(**torch.load(path, weights_only=True, map_location=device))


def targets(scene: world.Scene, num_frames: int) -> np.ndarray:
    """Return labels of the tokens, `float32[t,16,TARGET_DIM]`: the background and the nearest subject.

    The part of the subject (position, size, motion, shape, colour) is weighted by its proximity. A middle layer of the
    video model learns to predict the labels, as in REPA (arXiv:2410.06940), but with the ground truth instead of a
    pretrained encoder.
    """
    num_latents = (num_frames - 1) // STRIDE + 1
    first = np.array([0, *(STRIDE * k - STRIDE + 1 for k in range(1, num_latents))])
    last = np.array([0, *(STRIDE * k for k in range(1, num_latents))])
    centre = (np.arange(GRID) + 0.5) * 16
    patch_y, patch_x = (a.reshape(1, -1) for a in np.meshgrid(centre, centre, indexing="ij"))
    nearest, found = np.full((num_latents, GRID * GRID), 1e9), np.zeros((num_latents, GRID * GRID, 20), np.float32)
    for subject in scene.shown:
        path = world.track(scene, subject, num_frames)
        x, y, r = ((path[first, i] + path[last, i])[:, None] / 2 for i in range(3))
        step = np.clip((path[last, :2] - path[first, :2]) / (1.5 * STRIDE), -2, 2)[:, None]
        distance = np.hypot(patch_x - x, patch_y - y)
        near = np.clip((r + 12 - distance) / 12, 0, 1)[..., None]
        place = np.stack([(x - patch_x) / 16, (y - patch_y) / 16, r / 16 + 0 * distance], axis=-1)
        shape = np.eye(len(world.SHAPES))[world.SHAPES.index(subject.shape)]
        colour = np.eye(len(world.COLOURS))[list(world.COLOURS).index(subject.colour)]
        grid = (num_latents, GRID * GRID)
        parts = [np.ones((*grid, 1)), place, *(np.broadcast_to(v, (*grid, v.shape[-1])) for v in (step, shape, colour))]
        seen = near * np.concatenate(parts, axis=-1)
        found = np.where((distance < nearest)[..., None], seen, found)
        nearest = np.minimum(distance, nearest)
    place = np.array([*np.eye(len(world.BACKGROUNDS))[world.BACKGROUNDS.index(scene.background)], scene.pan])
    scenery = np.broadcast_to(place, (num_latents, GRID * GRID, len(place)))
    return np.concatenate([scenery, found], axis=-1).astype(np.float32)
