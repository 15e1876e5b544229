"""`dailies presets`: list and show the presets on disk."""

import argparse

from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_table, shorten
from engine.config.presets import KINDS, load_preset, preset_files, preset_keys
from engine.errors import DailiesError
from engine.files.text_files import text_of


def build_presets(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("ls", list_presets, help="list presets of one kind, or all")
    listing.add_argument("kind", nargs="?", help=f"one of {', '.join(KINDS)}")
    showing = verbs.add("show", show_preset, help="print a preset (with --json: resolved and checked)")
    showing.add_argument("kind", help=f"one of {', '.join(KINDS)}")
    showing.add_argument("key", help="the preset's name")


def list_presets(options: argparse.Namespace) -> None:
    kinds = [options.kind] if options.kind else KINDS
    keys = {kind: preset_keys(kind) for kind in kinds}
    if options.json:
        print_json(keys)
        return
    print_table(("kind", "key", "title"), [(kind, key, title_of(kind, key)) for kind in keys for key in keys[kind]])


def title_of(kind: str, key: str) -> str:
    """Return a preset's title, or the reason why it cannot be used: a broken file must not hide others."""
    try:
        return str(load_preset(kind, key).title)
    except DailiesError as error:
        return f"unusable: {shorten(str(error), 100)}"


def show_preset(options: argparse.Namespace) -> None:
    """Check the preset, then print its files as they are: the shipped one, then the user's own."""
    preset = load_preset(options.kind, options.key)
    if options.json:
        print_json(preset.model_dump(mode="json"))
        return
    for file in preset_files(options.kind, options.key):
        print(f"# {file}\n{text_of(file).rstrip()}")
