"""CogVideoX at toy size: 2B, 5B with rotary positions, and 1.5 5B, with the schedulers of their repositories.

Source: scripts/convert_cogvideox_to_diffusers.py of huggingface/diffusers, which wrote them; `snr_shift_scale` is 3 for
2B and 1 for 5B. For version 1.5 it sets patches of 2 latents in time without bias and `invert_scale_latents`; layers,
heads and the VAE's factor of 0.7 are also in sat/configs/cogvideox1.5_5b.yaml of THUDM/CogVideo, and clips of 16k+1
frames in the model's card.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from .base import Kit, TinyModel, encode_t5, request, swap_frames_and_channels, t5


def cogvideox(
    kit: Kit, snr_shift_scale: float = 3.0, vae_options: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    small = {"attention_head_dim": 8, "sample_width": 4, "sample_height": 4, "sample_frames": 9}
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        patch_size=2,
        max_text_seq_length=16,
        **{**small, **options},
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        **(vae_options or {}),
    )
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        snr_shift_scale=snr_shift_scale,
    )
    return CogVideoXPipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=scheduler,
        text_encoder=t5(kit, T5Config, T5EncoderModel),
        tokenizer=kit.tokenizer,
    )


cogvideox_model = partial(
    TinyModel,
    family="cogvideox",
    request=request(9),
    reorder=swap_frames_and_channels,
    encode=partial(encode_t5, length=16),
)
ROTARY = {"snr_shift_scale": 1.0, "use_rotary_positional_embeddings": True, "attention_head_dim": 16}
MODELS = {
    "cogvideox": cogvideox_model(build=cogvideox),
    "cogvideox_rotary": cogvideox_model(build=partial(cogvideox, **ROTARY)),
    "cogvideox15": cogvideox_model(
        build=partial(
            cogvideox,
            **ROTARY,
            patch_size_t=2,
            patch_bias=False,
            sample_width=20,
            sample_height=20,
            sample_frames=17,
            vae_options={"scaling_factor": 0.7, "invert_scale_latents": True},
        ),
        family="cogvideox15",
        request=request(17),
    ),
}
