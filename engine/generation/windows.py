"""Clips longer than a model's context, window by window.

Memory is that of one window and the finished frames.

continued   families that take given frames ("frame_sigmas" in `native_conditioning`): each window begins with the last
            frames of the previous one, encoded again and fixed; its new frames are appended with a short cross-fade.
blended     all others: the network denoises one clip of latents in windows, averages overlaps at every noise level, and
            the result is decoded in pieces. If every frame has its own latent, the noise of later frames is that of
            earlier frames in shuffled order, which keeps the scene (FreeNoise, Qiu et al., arXiv:2310.15169). The
            clip's noise is then not independent from frame to frame.

Families that take pictures only (Wan VACE, SparseCtrl) are blended too: single pictures of the previous window do not
determine the direction of motion.

`Clip.seams` has the boundaries of windows, which the seam reward evaluates.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from engine.family_interface import ModelFamily
from engine.generation.clip_plan import Window, at_least, blended_windows, continued_windows, is_continued, window_plan
from engine.generation.constraints import FixedFrames, OverlappingWindows
from engine.generation.context import (
    ClipReady,
    Events,
    GenerationContext,
    ProgressCounter,
    Prompts,
    denoise_to_end,
    encode,
)
from engine.request import GenerationRequest
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for, seed_for, unit_noise
from rewards.clip import Clip

FADE_FRAMES = 8  # longest cross-fade from one window to the next
CONTEXT_LATENTS = 2  # latent frames before a piece that are decoded with it and dropped


def count_steps(family: ModelFamily, request: GenerationRequest) -> int:
    """Return the number of denoising steps of a request, over all windows if these are continued."""
    return request.num_steps * (len(continued_windows(request, family.spec)) if is_continued(family.spec) else 1)


@torch.no_grad()
def generate_windows(
    family: ModelFamily, batch: Sequence[GenerationRequest], context: GenerationContext, counter: ProgressCounter
) -> Events:
    """Generate clips in windows, for requests with equal shape, settings and plan."""
    yield counter.progress("encode")
    prompts = encode(family, batch, context, batch[0].guidance)
    make = _continue if is_continued(family.spec) else _blend
    yield from make(family, batch, prompts, counter)


def _continue(
    family: ModelFamily, batch: Sequence[GenerationRequest], prompts: Prompts, counter: ProgressCounter
) -> Events:
    first, windows = batch[0], continued_windows(batch[0], family.spec)
    frames = np.empty((len(batch), windows[-1].stop, first.height, first.width, 3), np.uint8)
    for index, window in enumerate(windows):
        window_request = first.model_copy(update={"num_frames": window.stop - window.start})
        seeds = [request.seed if index == 0 else seed_for(request.seed, step=index) for request in batch]
        noise = family.init_latents(window_request, [generator_for(seed) for seed in seeds])
        given_frames = frames[:, window.start : window.start + window.given]
        predictor = family if window.given == 0 else _with_fixed_start(family, given_frames, noise)
        sigmas = sigmas_for(family.scheduler_config, first.num_steps, noise.shape[2:].numel())
        latents = yield from denoise_to_end(predictor, noise, sigmas, prompts, first.guidance, counter)
        yield counter.progress("decode")
        for row, latent in zip(frames, latents.split(1), strict=True):
            _append(row, family.decode(latent)[0], window)
    seams = tuple(window.start + window.given for window in windows[1:])
    yield from _clips(batch, frames, seams)


def _with_fixed_start(family: ModelFamily, given_frames: np.ndarray, noise: Tensor) -> FixedFrames:
    """Return a predictor with the first latents fixed to given frames `uint8[B,T,H,W,3]`."""
    given_latents = family.encode_frames(given_frames).to(noise)
    clean = torch.zeros_like(noise)
    clean[:, :, : given_latents.shape[2]] = given_latents
    is_given = torch.arange(noise.shape[2]) < given_latents.shape[2]
    return FixedFrames(family=family, clean=clean, held=is_given, noise=noise, native=True)


def _append(frames: np.ndarray, decoded: np.ndarray, window: Window) -> None:
    """Write a window's frames into the clip, with a cross-fade over the last given frames."""
    fade = min(FADE_FRAMES, window.given)
    frames[window.start + window.given : window.stop] = decoded[window.given :]
    weight = (np.arange(1, fade + 1) / (fade + 1))[:, None, None, None]
    place = slice(window.start + window.given - fade, window.start + window.given)
    mixed = (1 - weight) * frames[place] + weight * decoded[window.given - fade : window.given]
    frames[place] = np.round(mixed).astype(np.uint8)


def _blend(
    family: ModelFamily, batch: Sequence[GenerationRequest], prompts: Prompts, counter: ProgressCounter
) -> Events:
    first, spec, plan = batch[0], family.spec, window_plan(batch[0])
    length = min(spec.nearest_frames(plan.length), at_least(spec, first.num_frames))
    window = family.init_latents(first.model_copy(update={"num_frames": length}), [generator_for(0)])
    lead = spec.lead_latents
    stride = max(1, (length - 1) // max(1, window.shape[2] - lead - 1))
    num_latents = max(window.shape[2], -(-(first.num_frames - 1) // stride) + 1 + lead)
    overlap = max(1, plan.overlap // stride)
    windows = blended_windows(num_latents, window.shape[2], min(overlap, window.shape[2] - 1))
    shape = (window.shape[1], num_latents, *window.shape[3:])
    generators = [generator_for(request.seed) for request in batch]
    noise = unit_noise(shape, generators)
    if stride == 1:
        noise = torch.stack(
            [
                shuffled_noise(row, window.shape[2], overlap, generator)
                for row, generator in zip(noise, generators, strict=True)
            ]
        )
    noise = noise.to(window.device)
    sigmas = sigmas_for(family.scheduler_config, first.num_steps, window.shape[2:].numel())
    predictor = OverlappingWindows(family=family, windows=windows)
    latents = yield from denoise_to_end(predictor, noise, sigmas, prompts, first.guidance, counter)
    yield counter.progress("decode")
    frames = np.stack([decode_in_pieces(family, row, window.shape[2], stride) for row in latents.split(1)])
    seams = tuple((stop + start - 2 * lead) * stride // 2 for (_, stop), (start, _) in pairwise(windows))
    yield from _clips(batch, frames, seams)


def shuffled_noise(noise: Tensor, length: int, overlap: int, generator: torch.Generator) -> Tensor:
    """Return `noise[C,t,h,w]` with the frames after the first `length` replaced by earlier ones.

    Each run of `length - overlap` frames is a shuffled copy of the run `length` frames before it.
    """
    noise, run = noise.clone(), max(1, length - overlap)
    for start in range(length, noise.shape[1], run):
        count = min(run, noise.shape[1] - start)
        order = torch.randperm(count, generator=generator)
        noise[:, start : start + count] = noise[:, start - length : start - length + count][:, order]
    return noise


def decode_in_pieces(family: ModelFamily, latents: Tensor, piece: int, stride: int) -> np.ndarray:
    """Decode one clip's `latents[1,C,t,h,w]` to `uint8[T,H,W,3]`, at most `piece` latent frames at a time.

    With a causal VAE (`stride` > 1: the first latent covers one frame, the others `stride`), later pieces begin with
    latents that are already decoded, as context; their frames are dropped. A VAE that decodes frames singly needs none.
    The first latents of each piece are those that the family does not decode (`lead_latents`).
    """
    lead = family.spec.lead_latents
    context = min(CONTEXT_LATENTS, piece - lead - 1) if stride > 1 else 0
    pieces, done = [], lead
    for start, stop in blended_windows(latents.shape[2], piece, lead + context):
        num_context = done - start - lead
        frames = family.decode(latents[:, :, start:stop])[0]
        pieces.append(frames[1 + (num_context - 1) * stride if num_context else 0 :])
        done = stop
    return np.concatenate(pieces)


def _clips(batch: Sequence[GenerationRequest], frames: np.ndarray, seams: tuple[int, ...]) -> Events:
    """Yield the finished clips, cut to the requested length."""

    for request, row in zip(batch, frames, strict=True):
        inside = tuple(seam for seam in seams if seam < request.num_frames)
        clip = Clip(frames=row[: request.num_frames], fps=request.fps, prompt=request.prompt, seams=inside)
        yield ClipReady(request=request, clip=clip)
