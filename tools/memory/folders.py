"""Diffusers folders without weights, written from the configurations in `configs/`.

A table of a file is either a model, by the key of its preset, or a part that models share (`[parts.NAME]`). A model
names its pipeline, its tokenizers with their lengths, and its parts: a table, or the name of a shared part. Parts
`elsewhere` have a folder of their own, as `ModelPreset.parts` does. `like` takes over another model's entries.
"""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from engine.config.presets import load_model_preset
from engine.config.schema import ModelPreset
from engine.families.files.sources import local_path

CONFIGS = Path(__file__).parent / "configs"
VOCABULARY = 24


@cache
def configs() -> dict[str, Any]:
    """Return all tables of `configs/`: models by preset key, and "parts"."""
    merged: dict[str, Any] = {"parts": {}}
    for file in sorted(CONFIGS.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf8"))
        merged["parts"] |= table.pop("parts", {})
        merged |= table
    return merged


def model_config(key: str) -> dict[str, Any]:
    """Return the entry of a model, with those of the model that it is `like`. Raises KeyError."""
    own = configs()[key]
    return {**model_config(own["like"]), **own} if "like" in own else own


def part_config(model: dict[str, Any], part: Any) -> dict[str, Any]:
    """Return the configuration of a part: its own table, a shared one, or that of the model's other part."""
    if isinstance(part, dict):
        return part
    own = part.partition(".")[2]
    return part_config(model, model["parts"][own] if own else configs()["parts"][part])


def write_folder(key: str, folder: Path) -> ModelPreset:
    """Write a model's folder without weights; return its preset with the folder as its source."""
    preset = load_model_preset(key)
    if local_path(preset.source) is not None:
        return preset
    model = model_config(key)
    index: dict[str, Any] = {"_class_name": model["pipeline"], **model.get("index", {})}
    for name, part in model["parts"].items():
        config = part_config(model, part)
        is_scheduler = name == "scheduler"
        _write_config(folder / name, config, "scheduler_config.json" if is_scheduler else "config.json")
        index[name] = [model.get("libraries", {}).get(name, _library(config)), config["_class_name"]]
    for name, length in model["tokenizers"].items():
        _write_tokenizer(folder / name, length, model.get("chat_template") if name == "tokenizer" else None)
        index[name] = ["transformers", "PreTrainedTokenizerFast"]
    for name in ("image_processor", "feature_extractor"):
        if name in model:
            import transformers

            told = model[name] if isinstance(model[name], dict) else {"_class_name": model[name]}
            kind = told["_class_name"]
            options = {option: value for option, value in told.items() if option != "_class_name"}
            getattr(transformers, kind)(**options).save_pretrained(folder / name)
            index[name] = ["transformers", kind]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf8")
    parts = {}
    for name, part in model.get("elsewhere", {}).items():
        _write_config(folder / "elsewhere" / name, part_config(model, part), "config.json")
        parts[name] = str(folder / "elsewhere" / name)
    return preset.model_copy(update={"source": str(folder), "parts": parts})


def _library(config: dict[str, Any]) -> str:
    import transformers

    return "transformers" if hasattr(transformers, config["_class_name"]) else "diffusers"


def _write_config(folder: Path, config: dict[str, Any], name: str) -> None:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    model_class = getattr(transformers, config["_class_name"], None)
    if model_class is not None:
        settings = {key: value for key, value in config.items() if key != "_class_name"}
        config = model_class.config_class(**settings).to_dict()
    (folder / name).write_text(json.dumps(config), encoding="utf8")


def _write_tokenizer(folder: Path, length: int, chat_template: str | None) -> None:
    """Write a tokenizer of a few words that pads to `length` tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{number}": number for number in range(2, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=length,
        chat_template=chat_template,
    ).save_pretrained(folder)
