"""How much of a prompt a model's text encoder reads: what comes after its last token is not seen. Imports no torch."""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.presets import load_preset
from engine.families import ROOT, family_spec
from engine.generation.request import GenerationRequest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from engine.config.schema import ModelPreset

TOKENIZER = "tokenizer/tokenizer.json"
SHOWN_CHARS = 100


def unread_notes(request: GenerationRequest) -> tuple[str, ...]:
    """A sentence for each prompt of the request whose end the model does not read."""
    preset = load_preset("models", request.model)
    asked = {"prompt": request.prompt, "negative prompt": request.negative_prompt}
    ends = {name: unread_end(preset, words) for name, words in asked.items()}
    return tuple(
        f"The {name} is longer than the model reads: it does not see '{_shown(end)}'."
        for name, end in ends.items()
        if end
    )


def unread_end(preset: "ModelPreset", prompt: str) -> str:
    """The end of a prompt that is not read; "" where all is, or where the tokenizer is not on this machine to ask."""
    known = family_spec(preset.family).text_tokens
    path = _tokenizer_file(preset.source, preset.revision)
    if known is None or path is None:
        return ""
    tokenizer, limit = _read(path), min(known, _own_limit(path))
    found = tokenizer.encode(prompt, add_special_tokens=False)
    room = int(limit) - tokenizer.num_special_tokens_to_add(is_pair=False)
    return prompt[found.offsets[room - 1][1] :].strip() if len(found.ids) > room else ""


def _tokenizer_file(source: str, revision: str | None) -> Path | None:
    """In the preset's folder, or in the hub's cache; None when it is in neither, or of another format."""
    local = ROOT / source
    if local.is_dir():
        path = local / TOKENIZER
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, TOKENIZER, revision=revision) if source.count("/") == 1 else None
    return Path(cached) if isinstance(cached, str) else None


@lru_cache(maxsize=4)
def _read(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _own_limit(path: Path) -> float:
    """What the tokenizer's own settings say; endless where they say nothing."""
    try:
        settings = json.loads(path.with_name("tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return math.inf
    return float(settings.get("model_max_length") or math.inf)


def _shown(end: str) -> str:
    line = " ".join(end.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
