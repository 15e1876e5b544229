"""`dailies adapters`: list, import and export LoRA adapters.

Adapters are those of the workspace; imports come from other programs.
"""

import argparse
from pathlib import Path
from typing import Any

from engine.cli.downloads.asking import confirm_deletion, unneeded_in
from engine.cli.options.adapters import add_adapters, combined_adapter, scales_of
from engine.cli.options.export import add_export_options, new_export
from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_result, print_table
from engine.config.presets import load_model_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, FamilyError
from engine.families.base import folder_needs, preferred_variant
from engine.families.exchange.combining import write_fused
from engine.families.exchange.exporting import write_format
from engine.families.exchange.importing import check_fit, convert
from engine.families.loading import find_folder
from engine.families.lora_files import FIRST_NETWORK, SECOND_NETWORK, Lora, for_pipeline, read_parts, write_parts
from engine.families.registry import family_class, family_spec, local_source
from engine.files.atomic import new_folder
from engine.runs.adapters import (
    Adapter,
    AdapterCard,
    add_adapter,
    check_new_name,
    get_adapter,
    is_of_model,
    list_adapters,
    remove_adapter,
)
from engine.workspace import Workspace


def build_adapters(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("ls", show_adapters, help="list adapters, imported ones and those of runs")
    listing.add_argument("--model", metavar="KEY", help="also say whether each adapter fits this model")
    importing = verbs.add(
        "import",
        import_adapter,
        help="import a LoRA file of another program",
        description="Import a LoRA file of diffusers, PEFT, ComfyUI or kohya. docs/adapters.md lists the formats by "
        "model. The file itself is not changed.",
    )
    importing.add_argument("name", metavar="NAME", help="name of the adapter")
    importing.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the .safetensors file")
    importing.add_argument("--model", required=True, help="model of the adapter, see `dailies models ls`")
    importing.add_argument(
        "--low-noise", metavar="FILE", type=Path, help="for a model of two experts: the file of the low-noise expert"
    )
    importing.add_argument(
        "--alpha", type=float, metavar="N", help="lora_alpha of the training, if the file does not have it"
    )
    importing.add_argument("--network-only", action="store_true", help="skip layers of the text encoder")
    importing.add_argument("--lora-only", action="store_true", help="skip full-weight diffs of layers (.diff, .diff_b)")
    importing.add_argument("--trigger", default="", metavar="TEXT", help="text that prompts need for its effect")
    importing.add_argument(
        "--steps", type=int, metavar="N", help="for an adapter that distils the model: its steps, without guidance"
    )
    importing.add_argument("--note", default="", metavar="TEXT", help="note on its origin")
    removing = verbs.add("rm", delete_adapter, help="delete an adapter from the workspace")
    removing.add_argument("name", metavar="NAME", help="see `dailies adapters ls`")
    removing.add_argument("-y", "--yes", action="store_true", help="do not ask")
    exporting = verbs.add("export", export_adapter, help="export an adapter for another program")
    exporting.add_argument("name", metavar="NAME", help="see `dailies adapters ls`")
    add_export_options(exporting)
    fusing = verbs.add(
        "fuse",
        fuse_adapters,
        help="write a model with adapters merged into its weights",
        description="Write a whole diffusers folder with the adapters in the weights of its networks. Programs that "
        "read the model need no adapter then.",
    )
    fusing.add_argument("folder", type=Path, help="new folder to write to")
    fusing.add_argument("--model", required=True, help="model of the adapters, see `dailies models ls`")
    add_adapters(fusing, "adapter", "adapter to merge", required=True)


def show_adapters(options: argparse.Namespace) -> None:
    adapters = list_adapters(Workspace.from_env(options.workspace))
    rows = [_facts(adapter) for adapter in adapters]
    if options.model:
        preset = load_model_preset(options.model)
        rows = [{**row, "fits": _fit(adapter, preset)} for row, adapter in zip(rows, adapters, strict=True)]
    if options.json:
        cards = [adapter.card.model_dump() for adapter in adapters]
        print_json([{**row, **card} for row, card in zip(rows, cards, strict=True)])
        return
    shown = ("name", "model", "ranks", "trigger", "note", *(["fits"] if options.model else []))
    print_table(shown, [tuple(str(row[name]) for name in shown) for row in rows])


def _facts(adapter: Adapter) -> dict[str, Any]:
    """Return what the list shows of an adapter.

    `ranks` is one number, a range, or the reason why its file cannot be read.
    """
    try:
        found = sorted(set(adapter.ranks()))
        ranks = " to ".join(str(rank) for rank in dict.fromkeys([found[0], found[-1]])) if found else "no layers"
    except FamilyError as error:
        ranks = str(error)
    card = adapter.card
    return {
        "name": adapter.name,
        "folder": str(adapter.folder),
        "model": card.model,
        "ranks": ranks,
        "trigger": card.trigger,
        "note": card.note,
    }


def _fit(adapter: Adapter, preset: ModelPreset) -> str:
    """Return "yes", or why the adapter's layers do not fit the model or cannot be compared with it."""
    family: Any = family_class(preset.family)
    try:
        parts = for_pipeline(read_parts(adapter.folder), family.spec.network_part)
        is_checked = check_fit(family, local_source(preset), adapter.name, parts, preset.parts)
    except FamilyError as error:
        return f"no: {error}"
    if not is_checked:
        return "seen when it is used: the network is put together from several folders"
    if is_of_model(adapter, preset.key):
        return "yes"
    return f"yes, but it is of {adapter.card.model}: import its file again with --model {preset.key}"


def import_adapter(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace).prepare()
    check_new_name(workspace, options.name)
    preset = load_model_preset(options.model)
    parts: dict[str, Lora] = {}
    for file, expert in _files(options):
        loras = convert(
            file,
            family_spec(preset.family),
            alpha=options.alpha,
            network_only=options.network_only,
            lora_only=options.lora_only,
        )
        parts |= {
            SECOND_NETWORK if expert == SECOND_NETWORK and part == FIRST_NETWORK else part: lora
            for part, lora in loras.items()
        }
    family: Any = family_class(preset.family)
    check_fit(family, local_source(preset), options.name, parts, preset.parts)
    origin = ", ".join(file.name for file, _ in _files(options))
    few = {"num_steps": options.steps, "guidance": 1.0, "distilled": True} if options.steps else {}
    note = options.note or f"Imported from {origin}."
    card = AdapterCard(model=preset.key, note=note, trigger=options.trigger, **few)
    folder = add_adapter(workspace, options.name, card, lambda path: write_parts(path, parts))
    layers = sum(len(lora.ranks) for lora in parts.values())
    sentence = f"'{options.name}' has {layers} layers for {preset.title}: use it with `--adapter {options.name}`."
    print_result(options, {"name": options.name, "folder": str(folder), "layers": layers}, sentence)


def delete_adapter(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace)
    adapter = get_adapter(workspace, options.name)
    with unneeded_in(workspace, (adapter.name,)):
        pass  # before the question
    if not options.yes:
        confirm_deletion(
            f"This deletes '{adapter.name}' from {adapter.folder}. Clips that were made with it stay, but cannot be "
            "made again.",
            f"dailies adapters rm {adapter.name}",
        )
    with unneeded_in(workspace, (adapter.name,)):
        remove_adapter(workspace, adapter.name)
    print_result(options, {"name": adapter.name}, f"Deleted '{adapter.name}'.")


def export_adapter(options: argparse.Namespace) -> None:
    adapter = get_adapter(Workspace.from_env(options.workspace), options.name)
    spec = family_spec(load_model_preset(adapter.card.model).family)
    with new_export(options.folder), new_folder(options.folder) as partial:
        write_format(
            partial, adapter.name, for_pipeline(read_parts(adapter.folder), spec.network_part), spec, options.format
        )
    files = sorted(path.name for path in options.folder.iterdir())
    facts = {"name": adapter.name, "folder": str(options.folder), "files": files}
    print_result(options, facts, f"{options.folder} holds {', '.join(files)}.")


def fuse_adapters(options: argparse.Namespace) -> None:
    preset, scales = load_model_preset(options.model), scales_of(options, "adapter")
    family: Any = family_class(preset.family)
    if preset.parts:
        raise ConfigError(
            f"{preset.title} takes {', '.join(preset.parts)} from other folders, so it is not one folder: export the "
            "adapter instead (`dailies adapters export`)."
        )
    adapter = combined_adapter(Workspace.from_env(options.workspace), scales, preset)
    check_fit(family, local_source(preset), " + ".join(scales), adapter)
    needs = folder_needs(family, variant=preferred_variant(preset.dtype))
    with new_export(options.folder), new_folder(options.folder) as partial:
        write_fused(find_folder(local_source(preset), needs), partial, adapter)
    facts = {"model": preset.key, "adapters": scales, "folder": str(options.folder)}
    print_result(options, facts, f"{options.folder} holds {preset.title} with {' + '.join(scales)} in its weights.")


def _files(options: argparse.Namespace) -> list[tuple[Path, str]]:
    """Return each file with its network.

    Raises ConfigError without a file, or when a file is missing.
    """
    files = [
        (file, part)
        for file, part in ((options.file, FIRST_NETWORK), (options.low_noise, SECOND_NETWORK))
        if file is not None
    ]
    if not files:
        raise ConfigError("No file is named: give the adapter's .safetensors file, or --low-noise and a file.")
    for file, _ in files:
        if not file.is_file():
            raise ConfigError(f"There is no file '{file}': name the adapter's .safetensors file.")
    return files
