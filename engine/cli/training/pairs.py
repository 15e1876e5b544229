"""`dailies pairs`: make pairs for DPO from a model's own clips."""

import argparse
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from engine.cli.options.shared import add_shared_options, add_variations
from engine.cli.terminal.output import print_result
from engine.cli.terminal.progress import run_to_end
from engine.config.presets import load_preset
from engine.config.prompts import read_rows
from engine.families.registry import open_model
from engine.jobs.kinds import job_steps
from engine.jobs.spec import JobProgress
from engine.request import GenerationRequest
from engine.storage.images import load_picture
from engine.workspace import Workspace
from rewards import mix_reward_func


def build_pairs(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Generate clips and pair them. Train a DPO preset on the folder's pairs.jsonl with `--set pairs=FILE`."
    )
    parser.add_argument("folder", type=Path, help="new folder to write to")
    parser.add_argument("--model", default="mini", help="model, see `dailies models ls` (default: mini)")
    parser.add_argument("--mix", default="mini", help="mix of rewards that ranks the clips (default: mini)")
    parser.add_argument("--prompts", default="mini", metavar="FILE", help="file of prompts (default: mini)")
    parser.add_argument("--num-prompts", type=int, metavar="N", help="number of prompts (default: all)")
    add_variations(parser, 4, "clips of each prompt")
    parser.add_argument("--margin", type=float, default=0.05, help="least difference of the two scores (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips' noise (default: 0)")
    parser.set_defaults(run=pair_clips)


def pair_clips(options: argparse.Namespace) -> None:
    result = run_to_end(_pair_steps(options))
    print_result(options, result, f"{options.folder} holds {result['pairs']} pairs.")


def _pair_steps(options: argparse.Namespace) -> Generator[JobProgress, None, dict[str, Any]]:
    """Make the pairs, yield the progress, and return the result that `--json` prints."""
    from engine.training.data.reward_pairs import make_reward_pairs  # imports torch

    preset, workspace = load_preset("models", options.model), Workspace.from_env(options.workspace)
    steps = make_reward_pairs(
        open_model(preset),
        GenerationRequest(**{"prompt": "-", **preset.defaults()}),
        [row.stored(workspace) for row in read_rows(options.prompts)[: options.num_prompts]],
        mix_reward_func(load_preset("rewards", options.mix)),
        options.folder,
        takes=options.variations,
        margin=options.margin,
        seed=options.seed,
        load=partial(load_picture, workspace),
    )
    pairs = yield from job_steps(steps)
    return {"folder": str(options.folder), "pairs": pairs}
