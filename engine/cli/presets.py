"""`dailies models` and `dailies presets`: what can be chosen, read from the presets on disk."""

import argparse
import sys
from typing import Any

from engine.cli.output import print_json, print_table, shorten


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    models = commands.add_parser("models", help="list the models that can be used")
    verbs = models.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", parents=[shared], help="list models with their defaults").set_defaults(run=list_models)

    presets = commands.add_parser("presets", help="list and show presets: models, rewards, train, curricula")
    verbs = presets.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    listing = verbs.add_parser("ls", parents=[shared], help="list presets of one kind, or all")
    listing.add_argument("kind", nargs="?", help="models, rewards, train or curricula")
    listing.set_defaults(run=list_presets)
    showing = verbs.add_parser("show", parents=[shared], help="print a preset; --json prints it resolved and checked")
    showing.add_argument("kind", help="models, rewards, train or curricula")
    showing.add_argument("key", help="the preset's name")
    showing.set_defaults(run=show_preset)


def list_models(options: argparse.Namespace) -> None:
    from engine.config.model_availability import missing_sources
    from engine.config.presets import load_preset, preset_keys
    from engine.errors import DailiesError
    from engine.families.registry import family_spec

    found, unusable = [], {}
    for key in preset_keys("models"):
        try:
            found.append(load_preset("models", key))
        except DailiesError as error:
            unusable[key] = str(error)
    if options.json:
        usable = [{**preset.model_dump(mode="json"), "local": not missing_sources(preset)} for preset in found]
        print_json([*usable, *({"key": key, "unusable": why} for key, why in unusable.items())])
        return
    rows = [
        (
            preset.key,
            preset.title,
            preset.family,
            f"{preset.num_frames} frames {preset.width}x{preset.height}",
            family_spec(preset.family).conditioning_summary or "-",
            "-" if preset.vram_gib is None else f"{preset.vram_gib:g} GiB",
            f"not here: {', '.join(missing)}" if (missing := missing_sources(preset)) else "on this machine",
        )
        for preset in found
    ]
    print_table(("key", "title", "family", "default clip", "takes", "memory", "weights"), rows)
    for key, why in unusable.items():
        print(f"{key} cannot be used: {why}", file=sys.stderr)


def list_presets(options: argparse.Namespace) -> None:
    from engine.config.presets import KINDS, preset_keys

    kinds = [options.kind] if options.kind else KINDS
    found = {kind: preset_keys(kind) for kind in kinds}
    if options.json:
        print_json(found)
        return
    print_table(("kind", "key", "title"), [(kind, key, title(kind, key)) for kind in found for key in found[kind]])


def title(kind: str, key: str) -> str:
    """A preset's title, or why it cannot be used: one broken file does not hide the others."""
    from engine.config.presets import load_preset
    from engine.errors import DailiesError

    try:
        preset = load_preset(kind, key)
    except DailiesError as error:
        return f"unusable: {shorten(str(error), 100)}"
    return str(preset.get("title", "") if isinstance(preset, dict) else preset.title)


def show_preset(options: argparse.Namespace) -> None:
    """The files as they were written, the user's own after the shipped one; they are checked before."""
    from engine.config.presets import load_preset, preset_files
    from engine.files.text_files import text_of

    preset = load_preset(options.kind, options.key)
    if options.json:
        print_json(preset if isinstance(preset, dict) else preset.model_dump(mode="json"))
        return
    for file in preset_files(options.kind, options.key):
        print(f"# {file}\n{text_of(file).rstrip()}")
