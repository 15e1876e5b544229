"""Detection of the parts of prompts that a model's text encoder does not read. Imports no torch."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.presets import load_preset
from engine.families.files.sources import is_path, local_path
from engine.families.registry import family_spec
from engine.generation.prompt_tokenizers import TOKENIZER_FILES, open_prompt_tokenizer
from engine.hub.repository import HubSource
from engine.request import GenerationRequest

if TYPE_CHECKING:
    from engine.config.schema import ModelPreset

TOKENIZER = "tokenizer"
SHOWN_CHARS = 100


def truncation_warnings(request: GenerationRequest) -> tuple[str, ...]:
    """Return a sentence for each prompt of the request whose end is truncated."""
    preset = load_preset("models", request.model)
    prompts = {"prompt": request.prompt, "negative prompt": request.negative_prompt}
    ends = {name: unread_end(preset, words) for name, words in prompts.items()}
    return tuple(
        f"The {name} is longer than the model reads: '{_shorten(end)}' is ignored." for name, end in ends.items() if end
    )


def unread_end(preset: "ModelPreset", prompt: str) -> str:
    """Return the truncated end of a prompt; "" for none, or when the tokenizer is not on this machine."""
    family_limit = family_spec(preset.family).text_tokens
    folder = _tokenizer_folder(preset.source, preset.revision)
    if family_limit is None or folder is None:
        return ""
    tokenizer, limit = open_prompt_tokenizer(folder), min(family_limit, _tokenizer_limit(folder))
    ends = tokenizer.token_ends(prompt)
    room = int(limit) - tokenizer.num_special
    return prompt[ends[room - 1] :].strip() if len(ends) > room else ""


def unknown_words(model: str, prompt: str) -> list[str]:
    """Return the words of a prompt that a model cannot read, each once.

    Only vocabularies of whole words, such as that of `mini`, lack words.
    """
    preset = load_preset("models", model)
    folder = _tokenizer_folder(preset.source, preset.revision)
    return list(dict.fromkeys(open_prompt_tokenizer(folder).unknown(prompt))) if folder else []


def _tokenizer_folder(source: str, revision: str | None) -> Path | None:
    """Return the tokenizer's folder in the model's folder or the hub's cache.

    None if missing or in another format.
    """
    model = local_path(source)
    if model is None and not is_path(source):
        model = HubSource.read(source, revision).snapshot()
    folder = model / TOKENIZER if model is not None else None
    return folder if folder and any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def _tokenizer_limit(folder: Path) -> float:
    """Return `model_max_length` of the tokenizer's settings; infinity without one."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return math.inf
    return float(settings.get("model_max_length") or math.inf)


def _shorten(end: str) -> str:
    line = " ".join(end.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
