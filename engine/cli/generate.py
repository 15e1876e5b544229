"""`dailies generate`, `score` and `demo`: the handlers that the worker runs, in this process.

With `--queue` they submit a job to the workspace's worker instead; the page shows it.
"""

import argparse
import json
import secrets
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.cli.downloads.models import offer_model
from engine.cli.options.adapters import add_adapters, scales_of
from engine.cli.options.devices import add_resource_options, resources_of
from engine.cli.options.modes import MODE_OPTIONS, add_modes, add_pictures, mode_fields
from engine.cli.options.shared import add_shared_options, add_variations
from engine.cli.terminal.job_commands import queue_job
from engine.cli.terminal.output import decimal, print_json, print_table
from engine.cli.terminal.progress import run_to_end
from engine.config.presets import preset_keys
from engine.config.prompts import read_rows
from engine.errors import ConfigError, StoreError
from engine.generation.sweeps import AXES, PROMPT, read_axis, sweep_requests
from engine.generation.validation import check_request, read_request
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.spec import REQUEST_LIMIT, JobSpec
from engine.request import GenerationRequest, SweepAxis, adapter_fields
from engine.runs.adapters import list_adapters
from engine.runs.checkpoints import publish_named
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace

DRAWN_SEED_LIMIT = 10**9  # drawn seeds are short enough to read aloud
DEMO_PROMPT = "a red ball moving right over a meadow"
NOT_ALL = 1  # exit code: some of the videos could not be scored
NO_MIX = "none"
# Options that are fields of a request, for which the model's preset has the defaults.
SETTINGS = ("width", "height", "fps")
REQUESTED = ("prompt", "negative_prompt", "model", "num_frames", "num_steps", "guidance", *SETTINGS)


def build_generate(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Generate clips of a prompt, score them, and save both in the workspace. A clip that already exists "
        "(with the same prompt, settings and seed) is reused. Defaults come from the model's preset."
    )
    parser.add_argument("prompt", nargs="?", help="description of the clip")
    parser.add_argument(
        "--prompts",
        metavar="FILE",
        help="make clips of every row of a file instead: prompt, image, last_image, negative; see docs/prompts.md",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        type=sweep_axis,
        metavar="AXIS=VALUES",
        help=f"a clip for each value, such as guidance=1,3,5; repeat it for a grid; axes: {', '.join(AXES)}",
    )
    parser.add_argument("--negative", dest="negative_prompt", metavar="PROMPT", help="negative prompt")
    parser.add_argument("--model", default="mini", metavar="KEY", help="see `dailies models ls` (default: mini)")
    add_adapters(parser, "adapter", "LoRA adapter of the model")
    parser.add_argument("--frames", dest="num_frames", type=int, metavar="N", help="number of frames")
    parser.add_argument("--width", type=int, metavar="PX", help="width in px (default: the model's)")
    parser.add_argument("--height", type=int, metavar="PX", help="height in px (default: the model's)")
    parser.add_argument("--fps", type=float, metavar="RATE", help="frames per second")
    parser.add_argument("--steps", dest="num_steps", type=int, metavar="N", help="number of denoising steps")
    parser.add_argument("--guidance", type=float, metavar="G", help="classifier-free guidance; 1 switches it off")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the noise (default: random, printed with the result)"
    )
    add_variations(parser, 1, "number of clips of each prompt, with consecutive seeds")
    add_pictures(parser)
    add_modes(parser)
    add_mix(parser)
    add_out(parser)
    add_queue(parser)
    parser.set_defaults(run=generate)


def build_score(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Import a video (mp4, mov, webm, mkv, avi, gif) or all videos of a folder into the workspace, and score "
        "them. In a folder, the text file of a video's name (ball.txt for ball.mp4) is its prompt. An interrupted "
        "folder resumes where it stopped."
    )
    parser.add_argument("file", type=Path, help="video, or folder of videos")
    parser.add_argument("--prompt", default="", help="prompt of the video; some rewards need it")
    add_mix(parser)
    add_out(parser)
    add_queue(parser)
    add_resource_options(parser, "number of processes or actors for the videos of a folder")
    parser.set_defaults(run=score, model=None)


def build_demo(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = "Generate one clip with the embedded model, score it, and print the report and the files."
    parser.add_argument("--prompt", default=DEMO_PROMPT, help=f"default: {DEMO_PROMPT!r}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    add_mix(parser)
    add_out(parser)
    parser.set_defaults(run=demo, model="mini")


def add_mix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mix",
        metavar="KEY",
        help=f"mix of rewards, see `dailies presets ls rewards`; {NO_MIX}: do not score (default: the model's mix)",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="copy each clip's files and report to DIR/<clip id>")


def add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", action="store_true", help="submit a job to the worker instead of running here")


def generate(options: argparse.Namespace) -> None:
    """Make, score and show the clips of a prompt, or of every row of a file."""
    requests = read_requests(options)
    offer_model(requests[0].model)
    execute(JobSpec.generate(requests, chosen_mix(options), options.sweep or ()), options)


def score(options: argparse.Namespace) -> None:
    """Import, score and show one file, or a folder of them."""
    mix = chosen_mix(options)
    if mix is None:
        raise ConfigError(f"`dailies score` needs a mix of rewards, but got --mix {options.mix}: name a mix.")
    resources = resources_of(options)
    if options.file.is_dir():
        return execute(JobSpec.score_folder(options.file, options.prompt, mix, resources), options)
    if resources is not None:
        raise ConfigError(
            f"--runner and related options need a folder, but {options.file} is not a folder: leave them out."
        )
    execute(JobSpec.score_file(options.file, options.prompt, mix), options)


def demo(options: argparse.Namespace) -> None:
    """Run `generate` with the defaults of every option."""
    unset = [name for name in REQUESTED if name not in ("prompt", "model")]
    for name in ("prompts", "sweep", "adapter", "adapter_scale", *unset, *MODE_OPTIONS):
        setattr(options, name, None)
    options.variations, options.queue = 1, False
    generate(options)


def read_requests(options: argparse.Namespace) -> list[GenerationRequest]:
    """Return `--variations` requests of each prompt. Raises ConfigError for the first invalid option."""
    if options.variations < 1:
        raise ConfigError(f"--variations is the number of clips to make, at least 1, but got {options.variations}.")
    if options.sweep and (options.prompts is not None or options.variations > 1):
        raise ConfigError("--sweep excludes --prompts and --variations: sweep the prompt or the seed.")
    swept = any(axis.name == PROMPT for axis in options.sweep or ())
    if (options.prompt is not None) + (options.prompts is not None) + swept != 1:
        raise ConfigError("Give either a prompt or --prompts FILE.")
    values = {name: getattr(options, name) for name in REQUESTED if getattr(options, name) is not None}
    seed = secrets.randbelow(DRAWN_SEED_LIMIT) if options.seed is None else options.seed
    workspace = Workspace.from_env(options.workspace)
    recommended = {adapter.name: adapter.card.recommended for adapter in list_adapters(workspace)}
    defaults = dict[str, Any]()
    for name in reversed(options.adapter or []):
        defaults |= recommended.get(name, {})
    adapters = adapter_fields(list(scales_of(options, "adapter").items()))
    fields = {**defaults, **values, **adapters, **mode_fields(options, workspace), "seed": seed}
    if options.sweep:
        requests = sweep_requests(fields, options.sweep)
        return [_checked(request, workspace) for request in requests]
    if options.prompts is None:
        return _variations(fields, workspace, options.variations)
    requests = []
    for row in read_rows(options.prompts):
        own = row.stored(workspace).fields()
        try:
            requests += _variations({**fields, **own}, workspace, options.variations)
        except ConfigError as error:
            raise ConfigError(f"{row.place}: {error}") from error
    if len(requests) > REQUEST_LIMIT:
        raise ConfigError(f"{len(requests):,} clips are more than the {REQUEST_LIMIT:,} of one job: split the file.")
    return requests


def _variations(fields: dict[str, Any], workspace: Workspace, count: int) -> list[GenerationRequest]:
    """Return `count` requests with consecutive seeds.

    Raises ConfigError for fields that the model does not support.
    """
    return _checked(read_request(fields), workspace).with_seeds(count)


def _checked(request: GenerationRequest, workspace: Workspace) -> GenerationRequest:
    publish_named(workspace, request.model, request.scales)
    check_request(request, adapters=[adapter.name for adapter in list_adapters(workspace, request.model)])
    return request


def sweep_axis(text: str) -> SweepAxis:
    """Read `--sweep AXIS=VALUES`. Raises ArgumentTypeError."""
    name, _, values = text.partition("=")
    try:
        return read_axis(name.strip(), values)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def chosen_mix(options: argparse.Namespace) -> str | None:
    """Return the mix of `--mix`, else the one with the model's name, else the first; None for `none`."""
    if options.mix is not None:
        return None if options.mix == NO_MIX else str(options.mix)
    keys = preset_keys("rewards")
    return options.model if options.model in keys else next(iter(keys), None)


def execute(spec: JobSpec, options: argparse.Namespace) -> None:
    """Run a job here and show its clips, or queue it and show the job."""
    if getattr(options, "queue", False):
        return queue_job(spec, options)
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        make_clips(spec, library, options)


def make_clips(spec: JobSpec, library: Library, options: argparse.Namespace) -> None:
    kind = kind_of(spec.kind, KINDS)
    result = run_to_end(kind.start(spec.config, JobContext(store=library, resources=kind.resolve(spec.resources))))
    if spec.kind.startswith("score") and (result.get("unread") or result.get("unscored")):
        options.exit_code = NOT_ALL  # the unscored videos are listed below
    records = [library.clip(clip_id) for clip_id in result["clip_ids"]]
    folders = {record.id: export(library, record, options.out) for record in records}
    if options.json:
        print_json({**result, "clips": [as_json(library, record, folders[record.id]) for record in records]})
        return
    for record in records:
        show_clip(library, record, folders[record.id], result)
    for name, reason in result.get("unread", {}).items():
        print(f"{name} could not be scored: {reason}")


def export(library: Library, record: ClipRecord, out: Path | None) -> Path:
    """Copy a clip's files and report to `out`, if set; return the folder of its files. Raises StoreError."""
    folder = library.workspace.clip_folder(record.id)
    if out is None:
        return folder
    target = out.expanduser().resolve() / record.id
    try:
        shutil.copytree(folder, target, dirs_exist_ok=True)
        report = json.dumps(library.report(record.id), indent=2, ensure_ascii=False)
        (target / "report.json").write_text(f"{report}\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"Clip {record.id} is saved in {folder}, but could not be copied to {target}: {error.strerror or error}."
        ) from error
    return target


def as_json(library: Library, record: ClipRecord, folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = TypeAdapter(ClipRecord).dump_python(record, mode="json")
    files = {path.name: str(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return {**facts, "files": files, "report": library.report(record.id)}


def show_clip(library: Library, record: ClipRecord, folder: Path, result: dict[str, Any]) -> None:
    """Print a clip, its report and its files as text."""
    seed = "" if record.seed is None else f", seed {record.seed}"
    reused = " (it already existed)" if record.id in result.get("reused", ()) else ""
    print(f"Clip {record.id}: {record.num_frames} frames, {record.width}x{record.height} px{seed}{reused}")
    if record.prompt:
        print(f"Prompt: {record.prompt}")
    for note in record.notes:
        print(f"Note: {note}")
    report = library.report(record.id)
    if record.id in result["unscored"]:
        print(f"Not scored: {result['unscored'][record.id]}")
    elif report is not None:
        show_report(report)
    print(f"Files in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}\n")


def show_report(report: dict[str, Any]) -> None:
    """Print the reward report as a table, with the reason for each reward that does not apply."""
    results = report["results"]
    rows = [
        (key, decimal(result["value"]), decimal(result["raw"]), result["reason"]) for key, result in results.items()
    ]
    print_table(("reward", "value", "raw", "note"), rows)
    print(f"Total by mix {report['mix']}: {decimal(report['total'])}")
