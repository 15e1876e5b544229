"""A random open_clip model, made in a moment, for tests of what uses CLIP."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from tools.mini.train_clip import make_tokenizer

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 80, "width": 32, "heads": 2, "layers": 1},
}


def write_tiny_clip(folder: Path) -> Path:
    """A random open_clip model of the world's words, as `local-dir:` wants it."""
    torch.manual_seed(3)
    tokenizer = make_tokenizer()
    words = {"vocab_size": len(tokenizer), "hf_tokenizer_name": "here", "pool_type": "eos"}
    text = CONFIG["text_cfg"] | words | {"eos_id": tokenizer.eos_token_id, "pad_id": tokenizer.pad_token_id}
    config = CONFIG | {"text_cfg": text}
    folder.mkdir(parents=True)
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)
    return folder
