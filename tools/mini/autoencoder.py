"""VAE of `mini`: the causal video autoencoder of LTX at toy size, and its training.

One latent covers 16x16 px and 4 frames; the first frame has its own latent. Training has two phases: `content_loss`,
then `shape_loss`.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from engine.mini import world

log = logging.getLogger(__name__)

CONFIG = dict(
    latent_channels=48,
    block_out_channels=(32, 64, 64),
    down_block_types=("LTXVideo095DownBlock3D",) * 2,
    downsample_type=("spatiotemporal",) * 2,
    decoder_block_out_channels=(32, 64),
    layers_per_block=(1, 1, 1),
    decoder_layers_per_block=(1, 1, 2),
    spatio_temporal_scaling=(True,) * 2,
    decoder_spatio_temporal_scaling=(True,) * 2,
    decoder_inject_noise=(False,) * 3,
    upsample_residual=(True,) * 2,
    upsample_factor=(1,) * 2,
    patch_size=4,
)
Loss = Callable[[Tensor, Tensor], Tensor]
MEASURED_CLIPS = 96  # for the latents' mean and spread
LATENT_NOISE = 0.05  # added to latents in training: keeps them smooth; recorded as the posterior's spread


def to_model_space(frames: np.ndarray | Tensor) -> Tensor:
    """`uint8[B,T,H,W,3]` -> `float32[B,3,T,H,W]` in [-1, 1]."""
    return torch.as_tensor(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def clips(seed: int, batch: int) -> Iterator[Tensor]:
    """Yield endless training batches of 17 frames, sometimes of 33 frames or of single frames."""
    rng = np.random.default_rng(seed)
    while True:
        kind = rng.choice(["clip", "long", "picture"], p=[0.85, 0.07, 0.08])
        num_frames, count = {"clip": (17, batch), "long": (33, batch // 2), "picture": (1, batch * 8)}[str(kind)]
        start = int(rng.integers(0, 33))
        drawn = [world.render(world.sample_scene(rng), start + num_frames)[start:] for _ in range(count)]
        yield to_model_space(np.stack(drawn))


def subject_weight(target: Tensor) -> Tensor:
    """Return loss weights `[B,1,T,H,W]`: 1 for the background, 7 for a subject and its outline.

    Subjects are detected by their strong colour.
    """
    coloured = (target.amax(dim=1, keepdim=True) - target.amin(dim=1, keepdim=True) > 0.6).float()
    return 1 + 6 * torch.nn.functional.max_pool3d(coloured, (1, 7, 7), stride=1, padding=(0, 3, 3))


def content_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error plus a small L1 term; the first phase learns the content."""
    return (output - target).square().mean() + 0.1 * (output - target).abs().mean()


def shape_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the error of pixels and of their differences, weighted by `subject_weight`.

    The pixels have a squared and an L1 error, the differences an L1 error. The second phase sharpens the shapes.
    """
    weight = subject_weight(target)
    loss = (weight * ((output - target).square() + 0.3 * (output - target).abs())).mean()
    for dim in (-1, -2):
        edges = (output.diff(dim=dim) - target.diff(dim=dim)).abs()
        loss = loss + 0.3 * (weight.narrow(dim, 1, edges.shape[dim]) * edges).mean()
    return loss


def psnr(output: Tensor, target: Tensor) -> float:
    """Return the PSNR of values in [-1, 1], in dB."""
    return float(10 * torch.log10(4 / (output.clamp(-1, 1) - target).square().mean()))


def initialise(vae: AutoencoderKLLTXVideo) -> None:
    """Initialise convolutions to keep the variance, and the ends of residual branches with small weights.

    The default of PyTorch shrinks the signal in every layer. The norms of LTX have no gain, so the decoder would learn
    to ignore its input (measured: 12 dB throughout, with a zero gradient of the encoder).
    """
    for name, module in vae.named_modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            torch.nn.init.zeros_(cast(Tensor, module.bias))
            if name.endswith(("conv2.conv", "decoder.conv_out.conv")):
                module.weight.data.mul_(0.1)
    spread = vae.encoder.conv_out.conv  # the last channel is the log variance of all latents
    spread.weight.data[-1] = 0.0
    spread.bias.data[-1] = 2 * math.log(LATENT_NOISE)


class Optimizer:
    """Muon for the convolutions, viewed as matrices of at most 64 rows, and Adam for the rest.

    On two CPU cores this is about ten times as fast as Adam alone.
    """

    def __init__(self, vae: AutoencoderKLLTXVideo, lr: float) -> None:
        self.lr = lr
        self.weights = [m.weight for m in vae.modules() if isinstance(m, torch.nn.Conv3d)]
        views = [torch.nn.Parameter(rows) for w in self.weights for rows in self._rows(w.data)]
        taken = {id(w) for w in self.weights}
        others = [p for p in vae.parameters() if id(p) not in taken]
        self.views = views
        self.parts = (
            torch.optim.Muon(views, lr=lr, weight_decay=0.0, momentum=0.9, adjust_lr_fn="match_rms_adamw"),
            torch.optim.Adam(others, lr=lr, betas=(0.9, 0.95)),
        )

    @staticmethod
    def _rows(weight: Tensor) -> tuple[Tensor, ...]:
        return weight.view(weight.shape[0], -1).split(64)

    def step(self, rate: float) -> None:
        """Make one update at `rate` times the peak learning rate."""
        gradients = [rows for w in self.weights for rows in self._rows(cast(Tensor, w.grad))]
        for view, gradient in zip(self.views, gradients, strict=True):
            view.grad = gradient
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * rate
            part.step()  # type: ignore[no-untyped-call]


def train(folder: Path, num_steps: int, loss: Loss, seed: int = 0, batch: int = 4) -> float:
    """Train the VAE in `folder`, or a new one; save it there every 200 steps and at the end.

    Returns the held-out PSNR in dB. The learning rate decays to zero over the second half of the steps.
    """
    torch.manual_seed(seed)
    if (folder / "config.json").exists():
        vae = AutoencoderKLLTXVideo.from_pretrained(folder)
    else:
        vae = AutoencoderKLLTXVideo(**CONFIG)
        initialise(vae)
    log.info("VAE parameters: %.2f M", sum(p.numel() for p in vae.parameters()) / 1e6)
    optimizer = Optimizer(vae, 2e-3)
    average = torch.optim.swa_utils.AveragedModel(vae, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    began, data = time.monotonic(), clips(seed, batch)
    for step in range(num_steps):
        target = next(data)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(target).latent_dist.mean
            output = vae.decode(latents + LATENT_NOISE * torch.randn_like(latents)).sample.float()
        error = loss(output, target) + 1e-4 * latents.float().square().mean()
        vae.zero_grad()
        error.backward()
        optimizer.step(min(1, (step + 1) / 20) * min(1.0, 2 * (1 - step / num_steps)))
        average.update_parameters(vae)
        if step % 200 == 199:
            now = psnr(output.detach(), target)
            log.info(
                "vae step %d  %.0f s  loss %.4f  psnr %.2f dB", step + 1, time.monotonic() - began, error.item(), now
            )
            cast(AutoencoderKLLTXVideo, average.module).save_pretrained(folder)
    return finish(cast(AutoencoderKLLTXVideo, average.module), folder, seed)


@torch.no_grad()
def finish(vae: AutoencoderKLLTXVideo, folder: Path, seed: int) -> float:
    """Measure the latents on new clips, save the VAE and return its PSNR in dB.

    Stores the mean and the standard deviation of the latents, which whiten the input of the DiT.
    """
    rng = np.random.default_rng([seed, 1])
    frames = to_model_space(np.stack([world.render(world.sample_scene(rng), 33) for _ in range(MEASURED_CLIPS)]))
    mean = torch.cat([vae.encode(part).latent_dist.mean for part in frames.split(8)])
    vae.latents_mean.copy_(mean.mean(dim=(0, 2, 3, 4)))
    vae.latents_std.copy_(mean.std(dim=(0, 2, 3, 4)))
    vae.save_pretrained(folder)
    return psnr(torch.cat([vae.decode(part).sample for part in mean.split(8)]), frames)
