"""Previews of unfinished clips, from the clean latents that a step implies, without the decoder.

A linear map turns the channels of a latent into the colours of the pixels of a preview, one for each 8 px of a clip. It
is fitted once per loaded model, by least squares over pictures that the model's own VAE encodes. Where the VAE cannot,
the preview is grey: the mean over the channels, which shows shapes only, and the log has a warning.
"""

import io
import logging
import math
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle

from engine.errors import FamilyError
from engine.family_interface import ModelFamily
from engine.files.atomic import partial_file
from engine.generation.context import ClipReady, Events, Progress
from engine.sampling.forward_process import implied_x0
from engine.sampling.sampler import DenoiseStep

FRAMES = 8  # of a preview, evenly spaced over the clip; the page's job_watch.js knows it too
MAX_CLIPS, LONGEST_PX = 4, 112
LIMIT_BYTES, QUALITIES = 64 * 1024, (80, 50, 20)
PERIOD_S, SHARE = 0.5, 0.02  # a preview at most this often, and with at most this share of the time
PROBE_PX, PROBE_GRIDS, PROBES, PIXEL_PX, RIDGE = 128, (2, 4, 8, 16), 2, 8, 1e-4

log = logging.getLogger(__name__)
_FITTED: "WeakKeyDictionary[ModelFamily, Tensor | None]" = WeakKeyDictionary()


def with_previews(
    events: Events, family: ModelFamily, path: Path | None
) -> Generator[Progress | ClipReady, None, None]:
    """Yield `events` and keep a preview of the unfinished clips in the file `path`; None: no previews.

    The file is a JPEG of at most `LIMIT_BYTES`: `FRAMES` frames below each other, each with up to `MAX_CLIPS` clips of
    the batch side by side. It is removed when a clip is finished and at the end, also after an error. A preview that
    cannot be written is left out.
    """
    if path is None:
        yield from events
        return
    due_s = time.monotonic() + PERIOD_S
    try:
        for event in events:
            if isinstance(event, ClipReady):
                _remove(path)
            elif event.latest is not None and time.monotonic() >= due_s:
                colours = fitted_colours(family)
                if event.latest.latents.is_cuda:
                    torch.cuda.synchronize(event.latest.latents.device)  # or the steps' time would count as ours
                begun_s = time.monotonic()
                write_preview(path, picture(family, event.latest, colours))
                due_s = time.monotonic() + max(PERIOD_S, (time.monotonic() - begun_s) / SHARE)
            yield event
    finally:
        _remove(path)


def fitted_colours(family: ModelFamily) -> Tensor | None:
    """Return the map `float32[C+1,3*p*p]` from latent channels and 1 to RGB of p x p pixels, 0..1.

    None when the VAE cannot encode the pictures that the map is fitted to.
    """
    if family not in _FITTED:
        try:
            _FITTED[family] = fit_colours(family)
        except (FamilyError, RuntimeError, MemoryError) as error:
            _FITTED[family] = None
            log.warning("Previews are grey, since no colours could be fitted to the VAE: %s", error)
    return _FITTED[family]


@torch.no_grad()
def fit_colours(family: ModelFamily) -> Tensor:
    """Fit the map of `fitted_colours` by ridge regression of coloured grids on their latents."""
    generator = torch.Generator().manual_seed(0)
    grids = [torch.rand((PROBES, 3, cells, cells), generator=generator) for cells in PROBE_GRIDS]
    pixels = torch.cat([interpolate(grid, (PROBE_PX, PROBE_PX), mode="bilinear") for grid in grids])
    frames = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)[:, None]
    frames = frames.expand(-1, family.spec.nearest_frames(1), -1, -1, -1).contiguous()
    latents = family.encode_frames(frames.numpy()).double().cpu()
    per_latent = max(1, PROBE_PX // latents.shape[3] // PIXEL_PX)
    small = adaptive_avg_pool2d(pixels.double(), (latents.shape[3] * per_latent, latents.shape[4] * per_latent))
    shown = pixel_unshuffle(small, per_latent)[:, :, None].expand(-1, -1, latents.shape[2], -1, -1)
    rows, wanted = (part.movedim(1, -1).flatten(0, 3) for part in (_with_one(latents), shown))
    ridge = RIDGE * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype)
    return torch.linalg.solve(rows.T @ rows + ridge, rows.T @ wanted).float()


@torch.no_grad()
def picture(family: ModelFamily, step: DenoiseStep, colours: Tensor | None) -> np.ndarray:
    """Return `uint8[FRAMES*h,clips*w,3]`: the clips that `step` implies, see `with_previews`."""
    rows = slice(MAX_CLIPS)
    prediction = family.spec.prediction
    latents = implied_x0(prediction, step.latents[rows], step.next_latents[rows], step.sigma, step.sigma_next)
    chosen = torch.linspace(family.spec.lead_latents, latents.shape[2] - 1, FRAMES).round().long()
    latents = latents[:, :, chosen.to(latents.device)]
    if colours is None:
        grey = latents.mean(1, keepdim=True)
        rgb = (0.5 + grey / (4 * grey.std().clamp(min=1e-6))).expand(-1, 3, -1, -1, -1)
    else:
        rgb = torch.einsum("bcthw,cd->bdthw", _with_one(latents), colours.to(latents))
    pixels = pixel_shuffle(rgb.transpose(1, 2).flatten(0, 1), math.isqrt(rgb.shape[1] // 3))
    scale = LONGEST_PX / max(pixels.shape[2:])
    size = [math.ceil(side * scale) for side in pixels.shape[2:]]
    frames = interpolate(pixels, size, mode="bilinear", antialias=scale < 1).unflatten(0, (-1, FRAMES))
    sheet = frames.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # b f c y x -> (f y) (b x) c
    return (sheet.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def write_preview(path: Path, pixels: np.ndarray) -> None:
    """Write `uint8[H,W,3]` as a JPEG of at most `LIMIT_BYTES`; one that stays larger or fails is left out."""
    for quality in QUALITIES:
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=quality)
        if content.tell() <= LIMIT_BYTES:
            break
    else:
        return
    try:
        with partial_file(path) as partial:
            partial.write_bytes(content.getvalue())
    except OSError as error:
        log.warning("The preview cannot be written: %s", error)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _with_one(latents: Tensor) -> Tensor:
    """Return `latents[B,C,t,h,w]` with a further channel of ones."""
    return torch.cat([latents, torch.ones_like(latents[:, :1])], 1)
