"""How much of a prompt a model's text encoder reads: what comes after its last token is not seen. Imports no torch."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.presets import load_preset
from engine.families.registry import family_spec
from engine.families.sources import HubSource, is_path, local_path
from engine.generation.prompt_tokenizers import TOKENIZER_FILES, open_prompt_tokenizer
from engine.request import GenerationRequest

if TYPE_CHECKING:
    from engine.config.schema import ModelPreset

TOKENIZER = "tokenizer"
SHOWN_CHARS = 100


def truncation_warnings(request: GenerationRequest) -> tuple[str, ...]:
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
    folder = _tokenizer_folder(preset.source, preset.revision)
    if known is None or folder is None:
        return ""
    tokenizer, limit = open_prompt_tokenizer(folder), min(known, _own_limit(folder))
    ends = tokenizer.token_ends(prompt)
    room = int(limit) - tokenizer.num_special
    return prompt[ends[room - 1] :].strip() if len(ends) > room else ""


def _tokenizer_folder(source: str, revision: str | None) -> Path | None:
    """In the preset's folder, or in the hub's cache; None when it is in neither, or of another format."""
    model = local_path(source)
    if model is None and not is_path(source):
        model = HubSource.read(source, revision).snapshot()
    folder = model / TOKENIZER if model is not None else None
    return folder if folder and any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def _own_limit(folder: Path) -> float:
    """What the tokenizer's own settings say; endless where they say nothing."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return math.inf
    return float(settings.get("model_max_length") or math.inf)


def _shown(end: str) -> str:
    line = " ".join(end.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
