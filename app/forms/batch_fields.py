"""Kinds of batches in the Generate form: one prompt, a list of prompts, or a sweep over settings."""

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.components.keyframe_editor import uploaded
from app.text import batches as text
from engine.config.prompts import SourceRow, read_rows, source_row
from engine.errors import ConfigError
from engine.generation.sweeps import PROMPT, SEED, read_axis, sweep_requests
from engine.generation.validation import read_request
from engine.jobs.spec import REQUEST_LIMIT
from engine.request import GenerationRequest, SweepAxis

ONE, LIST, SWEEP = "one", "list", "sweep"
PROMPTS = "prompts"  # the field of a list
BATCH_FIELDS = ("batch", "prompts", "columns", "column_values", "rows", "row_values")
FILES = [".txt", ".csv", ".jsonl", ".json"]
Batch = tuple[list[GenerationRequest], tuple[SweepAxis, ...]]


def read_batch(fields: Mapping[str, Any], request_fields: Mapping[str, Any], takes: int) -> Batch:
    """Return the requests of the form's `fields`, and the axes of a list or a sweep. Raises ConfigError."""
    if fields["batch"] == LIST:
        return _of_prompts(fields["prompts"] or "", request_fields, takes)
    if fields["batch"] == SWEEP:
        axes = [_read_axis(name, fields[values] or "", values) for name, values in _axes(fields)]
        return sweep_requests(request_fields, axes), tuple(axes)
    return read_request(request_fields).with_seeds(takes), ()


def shown_for(kind: str) -> list[Any]:
    """Return updates for the prompt, the list, the sweep and the variations: what a kind of batch has."""
    return [gr.update(visible=shown) for shown in (kind != LIST, kind == LIST, kind == SWEEP, kind != SWEEP)]


def _axes(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = ((fields["columns"], "column_values"), (fields["rows"], "row_values"))
    return [(name, values) for name, values in pairs if name]


def _read_axis(name: str, typed: str, field: str) -> SweepAxis:
    try:
        return read_axis(name, typed)
    except ConfigError as error:
        raise ConfigError(str(error), field=field) from error


def _of_prompts(lines: str, fields: Mapping[str, Any], takes: int) -> Batch:
    rows = {json.dumps(row): row for row in prompt_rows(lines)}
    if not rows:
        raise ConfigError(text.NO_PROMPTS, field=PROMPTS)
    if len(rows) * takes > REQUEST_LIMIT:
        raise ConfigError(text.too_many(len(rows) * takes, REQUEST_LIMIT), field=PROMPTS)
    requests = [read_request({**fields, **row}).with_seeds(takes) for row in rows.values()]
    prompts = SweepAxis(name=PROMPT, values=tuple(row["prompt"] for row in rows.values()))
    seeds = SweepAxis(name=SEED, values=tuple(str(request.seed) for request in requests[0]))
    return [request for takes_of in requests for request in takes_of], ((seeds, prompts) if takes > 1 else (prompts,))


def prompt_rows(lines: str) -> list[dict[str, Any]]:
    """Return the fields of a request of each line.

    A line is a prompt, or a JSON object as in a .jsonl file of prompts. Raises ConfigError, which names the line.
    """
    numbered = [(number, line.strip()) for number, line in enumerate(lines.splitlines(), 1) if line.strip()]
    return [_row_fields(_line_row(line, text.line(number))) for number, line in numbered]


def _line_row(line: str, place: str) -> SourceRow:
    fields: Any = {"prompt": line}
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(text.no_json(place), field=PROMPTS) from error
    return source_row(fields, place, None)


def _row_fields(row: SourceRow) -> dict[str, Any]:
    return {"prompt": row.prompt, **row.pictures, **({"negative_prompt": row.negative} if row.negative else {})}


def read_file(path: str) -> str:
    """Return the lines of the list for an uploaded file of prompts. Raises ConfigError."""
    file = uploaded(path)
    return "\n".join(_line(_row_fields(row)) for row in read_rows(str(file), with_paths=False))


def _line(fields: Mapping[str, Any]) -> str:
    prompt = " ".join(fields["prompt"].split())
    return prompt if len(fields) == 1 and not prompt.startswith("{") else json.dumps(fields, ensure_ascii=False)


class BatchFields:
    """Components of `BATCH_FIELDS`; the groups `listed` and `swept` are visible for their kind only."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def build_choice(self) -> None:
        self.fields["batch"] = gr.Radio(text.KINDS, value=ONE, show_label=False, container=False, elem_id="batch")

    def build(self) -> None:
        with gr.Column(visible=False, elem_classes="mode-settings") as self.listed:
            self.fields["prompts"] = gr.Textbox(
                label=text.PROMPTS, placeholder=text.PROMPTS_HINT, lines=5, max_lines=12, elem_id="prompts"
            )
            self.file = gr.UploadButton(text.LOAD_FILE, file_types=FILES, size="sm", elem_id="prompts-file")
        with gr.Column(visible=False, elem_classes="mode-settings") as self.swept:
            for name, values, chosen in (("columns", "column_values", "guidance"), ("rows", "row_values", SEED)):
                with gr.Row(elem_classes="tight"):
                    self.fields[name] = gr.Dropdown(
                        text.AXES if name == "columns" else [*text.AXES, (text.NO_AXIS, "")],
                        value=chosen,
                        label=text.AXIS_LABELS[name],
                        min_width=110,
                        elem_id=f"sweep-{name}",
                    )
                    self.fields[values] = gr.Textbox(
                        label=text.VALUES, placeholder=text.EXAMPLES[chosen], min_width=120, elem_id=f"sweep-{values}"
                    )
