"""`dailies preflight`: all checks of a run before it starts, without starting it."""

import argparse
import sys

from engine.cli.options.shared import add_settings, add_shared_options
from engine.cli.terminal.job_commands import run_in_process
from engine.cli.terminal.output import print_json, print_table
from engine.cli.training.train import read_changes
from engine.config.presets import load_train_preset
from engine.jobs.spec import PreflightConfig
from engine.training.preflight.preflight_check import CHECKS

LEVELS = {"ok": "passed", "unknown": "not checked", "warning": "warning", "stop": "error"}
"""Words for the levels of a check, as on the page."""
REFUSED = 2


def build_preflight(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Make all checks that a run makes before it starts: memory, data, rewards, one batch of clips. Nothing is "
        "trained or kept. The exit code is 2 when a check would refuse the run."
    )
    parser.add_argument("preset", help="see `dailies presets ls train`")
    add_settings(parser)
    parser.add_argument("--start", metavar="ADAPTER", help="initial adapter (default: none)")
    parser.set_defaults(run=show_preflight)


def show_preflight(options: argparse.Namespace) -> None:
    config = PreflightConfig(preset=load_train_preset(options.preset, read_changes(options.set)), adapter=options.start)
    verdicts = run_in_process("preflight", config.model_dump(mode="json"), options)["verdicts"]
    if options.json:
        print_json(verdicts)
    else:
        print_verdicts(verdicts)
    if any(verdict["level"] == "stop" for verdict in verdicts):
        options.exit_code = REFUSED
        print("dailies: A run with these settings would be refused: see the checks with an error.", file=sys.stderr)


def print_verdicts(verdicts: list[dict[str, str]]) -> None:
    """Print one row per check, by the labels of the page."""
    rows = [
        (CHECKS[one["name"]].label if one["name"] in CHECKS else one["name"], LEVELS[one["level"]], one["sentence"])
        for one in verdicts
    ]
    print_table(("check", "result", "detail"), rows)
