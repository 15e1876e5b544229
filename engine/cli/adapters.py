"""`dailies adapters`: the LoRA weights that Generate can put onto a model, and bringing in those made elsewhere."""

import argparse
from pathlib import Path
from typing import Any

from engine.cli.output import print_json, print_table


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    adapters = commands.add_parser("adapters", help="list adapters (LoRA), and bring in those made elsewhere")
    verbs = adapters.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", parents=[shared], help="list adapters with their models").set_defaults(run=list_all)
    bringing = verbs.add_parser(
        "import",
        parents=[shared],
        help="make a LoRA file of another program an adapter",
        description="Reads LoRA files of diffusers, PEFT, ComfyUI and kohya; docs/adapters.md says which of them for "
        "which models. The file itself is left as it is.",
    )
    bringing.add_argument("name", metavar="NAME", help="what requests will call it")
    bringing.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the .safetensors file")
    bringing.add_argument("--model", required=True, help="the model that it is for, see `dailies models ls`")
    bringing.add_argument(
        "--low-noise", metavar="FILE", type=Path, help="of a model of two experts: the file for the low-noise one"
    )
    bringing.add_argument(
        "--alpha", type=float, metavar="N", help="the lora_alpha that it was trained with, where the file says none"
    )
    bringing.add_argument("--network-only", action="store_true", help="leave out layers for the text encoder")
    bringing.add_argument("--note", default="", metavar="TEXT", help="where it is from")
    bringing.set_defaults(run=bring_in)


def list_all(options: argparse.Namespace) -> None:
    from engine.runs.adapters import list_adapters
    from engine.workspace import Workspace

    found = list_adapters(Workspace.from_env(options.workspace))
    if options.json:
        print_json([{"name": one.name, "folder": str(one.folder), **one.card.model_dump()} for one in found])
    else:
        print_table(("name", "model", "note"), [(one.name, one.card.model, one.card.note) for one in found])


def bring_in(options: argparse.Namespace) -> None:
    from engine.config.presets import load_model_preset
    from engine.families.lora_files import FIRST, SECOND, Lora, write_parts
    from engine.families.lora_import import check_fit, convert
    from engine.families.registry import family_class, family_spec, local_source
    from engine.runs.adapters import AdapterCard, add_adapter, check_new_name
    from engine.workspace import Workspace

    workspace = Workspace.from_env(options.workspace).prepare()
    check_new_name(workspace, options.name)
    preset = load_model_preset(options.model)
    parts: dict[str, Lora] = {}
    for file, place in _files(options):
        told = {"alpha": options.alpha, "network_only": options.network_only}
        found = convert(file, family_spec(preset.family), **told)
        parts |= {SECOND if place == SECOND and part == FIRST else part: lora for part, lora in found.items()}
    family: Any = family_class(preset.family)
    check_fit(family, local_source(preset), options.name, parts)
    card = AdapterCard(model=preset.key, note=options.note)
    folder = add_adapter(workspace, options.name, card, lambda place: write_parts(place, parts))
    layers = sum(len(lora.ranks) for lora in parts.values())
    if options.json:
        print_json({"name": options.name, "folder": str(folder), "layers": layers})
    else:
        print(f"'{options.name}' has {layers} layers for {preset.title}: `--adapter {options.name}` uses it.")


def _files(options: argparse.Namespace) -> list[tuple[Path, str]]:
    """Each file, and the network that it is for. Raises ConfigError when none is named."""
    from engine.errors import ConfigError
    from engine.families.lora_files import FIRST, SECOND

    named = [(file, part) for file, part in ((options.file, FIRST), (options.low_noise, SECOND)) if file is not None]
    if not named:
        raise ConfigError("No file is named: give the adapter's .safetensors file, or --low-noise and a file.")
    for file, _ in named:
        if not file.is_file():
            raise ConfigError(f"There is no file '{file}': name the adapter's .safetensors file.")
    return named
