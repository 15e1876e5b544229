"""`dailies hub push`: adapters, campaigns and folders as repositories of the hub."""

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

from engine.cli.options.shared import shared_options
from engine.cli.terminal.output import print_result
from engine.config.model_availability import needed_sources
from engine.config.presets import load_model_preset
from engine.errors import ConfigError
from engine.families.exchange.exporting import FORMATS, write_format
from engine.families.lora_files import for_pipeline, read_parts
from engine.families.registry import family_spec
from engine.hub.repository import RepositoryKind
from engine.hub.upload import README, TOKEN_VARIABLE, push_folder
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_exchange import LAYOUTS, export_pairs
from engine.labelling.preference_pairs import preference_pairs
from engine.runs.adapters import Adapter, get_adapter
from engine.storage.library import Library
from engine.workspace import Workspace

FOLDER = "content"


def build_hub(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    push = verbs.add_parser(
        "push",
        help="upload to a repository of the Hugging Face Hub",
        description="Upload to a repository of the Hugging Face Hub, which is created when it is missing, with the "
        f"access token of {TOKEN_VARIABLE}.",
    )
    kinds = push.add_subparsers(title="what", dest="what", metavar="WHAT", required=True)
    shared = shared_options()
    shared.add_argument("--private", action="store_true", help="create the repository as a private one")
    adapter = kinds.add_parser("adapter", parents=[shared], help="upload an adapter with a model card")
    adapter.add_argument("source", metavar="NAME", help="see `dailies adapters ls`")
    adapter.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="names of the layers")
    adapter.set_defaults(run=push_adapter)
    campaign = kinds.add_parser(
        "campaign", parents=[shared], help="upload the preference pairs of a campaign, with clips"
    )
    campaign.add_argument("source", metavar="ID", help="see `dailies campaigns ls`")
    campaign.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0], help="layout of the dataset")
    campaign.set_defaults(run=push_campaign)
    folder = kinds.add_parser(
        "folder", parents=[shared], help="upload a folder as it is: a fused model, or exported pairs"
    )
    folder.add_argument("source", metavar="FOLDER", type=Path, help="folder to upload")
    folder.add_argument("--dataset", action="store_true", help="as a dataset (default: as a model)")
    folder.set_defaults(run=push_any_folder)
    for one in (adapter, campaign, folder):
        one.add_argument("repository", metavar="OWNER/NAME", help="repository of the hub")


def push_adapter(options: argparse.Namespace) -> None:
    adapter = get_adapter(Workspace.from_env(options.workspace), options.source)
    spec = family_spec(load_model_preset(adapter.card.model).family)
    parts = for_pipeline(read_parts(adapter.folder), spec.network_part)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / FOLDER
        write_format(folder, adapter.name, parts, spec, options.format)
        (folder / README).write_text(adapter_card(adapter), encoding="utf-8")
        _push(options, folder, "model")


def adapter_card(adapter: Adapter) -> str:
    """Return the text of a model card, with the fields that the hub's pages read."""
    preset, card = load_model_preset(adapter.card.model), adapter.card
    fields = ["library_name: diffusers", "tags: [lora, text-to-video]"]
    part = family_spec(preset.family).network_part
    trained = preset.parts.get(part, preset.source)
    base = next((one.on_hub for one in needed_sources(preset) if one.source == trained), None)
    fields += [f"base_model: {base.repository}"] if base else []
    trigger = f"Put this text into prompts: {card.trigger}\n\n" if card.trigger else ""
    origin = f"{card.note}\n\n" if card.note else ""
    licence = f"Licence of the base model: {preset.licence}\n\n" if preset.licence else ""
    lines, body = "\n".join(fields), f"# {adapter.name}\n\nA LoRA for {preset.title}.\n\n{trigger}{origin}{licence}"
    return f"---\n{lines}\n---\n\n{body}".rstrip() + "\n"


def push_campaign(options: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory() as temporary,
        closing(Library(Workspace.from_env(options.workspace))) as library,
    ):
        campaigns, folder = Campaigns(library), Path(temporary) / FOLDER
        campaign = campaigns.get(options.source)
        export_pairs(library, preference_pairs(campaigns.votes(campaign.id)), folder, options.layout, campaign.title)
        _push(options, folder, "dataset")


def push_any_folder(options: argparse.Namespace) -> None:
    if not options.source.is_dir() or not any(options.source.iterdir()):
        raise ConfigError(f"'{options.source}' is no folder with files: name the folder to upload.")
    _push(options, options.source, "dataset" if options.dataset else "model")


def _push(options: argparse.Namespace, folder: Path, kind: RepositoryKind) -> None:
    page = push_folder(folder, options.repository, kind, private=options.private)
    files = sum(path.is_file() for path in folder.rglob("*"))
    facts = {"repository": options.repository, "type": kind, "page": page, "files": files}
    print_result(options, facts, f"{page} has the {files} files.")
