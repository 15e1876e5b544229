"""Measure the networks of model presets, and write the `[network]` table of each.

`python -m tools.memory KEY...` takes one to five minutes a preset; `--all` measures every preset. `make docs` then
writes the tables of docs/models.md.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import NetworkShape
from engine.estimation.memory import BYTES
from engine.families.files.sources import local_path
from tools.memory.fit import measure
from tools.memory.folders import model_config, part_config

PRESETS = Path(__file__).resolve().parents[2] / "presets" / "models"
HEAD = "[network]\n"


def same_vae(key: str) -> NetworkShape | None:
    """Return the table of another shipped preset with the same VAE and data type; None without one.

    Its `decoding_of` names the preset that was measured.
    """
    for other in preset_keys("models"):
        preset, own = load_model_preset(other), load_model_preset(key)
        if other == key or preset.network is None or local_path(own.source) or local_path(preset.source):
            continue
        vaes = [part_config(model, model["parts"]["vae"]) for model in (model_config(key), model_config(other))]
        if vaes[0] == vaes[1] and BYTES[preset.dtype] == BYTES[own.dtype]:
            return preset.network.model_copy(update={"decoding_of": preset.network.decoding_of or other})
    return None


def source_of(key: str) -> str:
    """Return the sentence of the table's `source`."""
    config = "its own files" if local_path(load_model_preset(key).source) else model_config(key)["source"]
    return f"{config}; fake-tensor peaks, torch {version('torch')}, diffusers {version('diffusers')}"


def as_toml(table: dict[str, Any]) -> str:
    """Return a table of numbers, texts and lists as TOML."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def write_table(file: Path, table: dict[str, Any]) -> None:
    """Write the `[network]` table of a preset's file, which is its last table."""
    text = file.read_text(encoding="utf8")
    before = text.partition(HEAD)[0].rstrip("\n")
    file.write_text(f"{before}\n\n{HEAD}{as_toml(table)}", encoding="utf8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.memory", description=__doc__)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="keys of presets/models")
    parser.add_argument("--all", action="store_true", help="measure every shipped preset")
    parser.add_argument(
        "--reuse-vae", action="store_true", help="take the laws of decoding from a preset with this VAE"
    )
    parser.add_argument(
        "--passes-of",
        metavar="KEY",
        help="take the laws of passes from a preset with nearly the same network, and compare",
    )
    options = parser.parse_args()
    for key in preset_keys("models") if options.all else options.keys:
        decoding = same_vae(key) if options.reuse_vae else None
        passes = load_model_preset(options.passes_of).network if options.passes_of else None
        table = measure(key, lambda text: sys.stderr.write(f"{text}\n"), decoding=decoding, passes=passes)
        write_table(PRESETS / f"{key}.toml", {**table, "source": source_of(key)})
        sys.stdout.write(f"{key}: largest deviation at another shape {table['error']:.1%}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
