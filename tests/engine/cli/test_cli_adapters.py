"""Adapters that come and go: `dailies adapters import` and `export`, `dailies runs export --format`."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.views.training.run_table import differences
from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.families.lora_files import WEIGHTS_FILE, Lora, read_parts, write_parts
from engine.files.locks import try_lock
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.request import GenerationRequest
from engine.runs.adapters import AdapterCard, add_adapter
from engine.runs.run import Run, list_runs
from engine.runs.run_inputs import start_of
from engine.storage.library import Library
from engine.workspace import Workspace

LAYER = "transformer_blocks.0.attn1.to_q"
Command = Callable[..., Any]


@pytest.fixture
def dailies(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Command:
    """`dailies(arguments, refused=False)`: what the command prints as JSON, or the sentence of its refusal."""

    def run(*arguments: str, refused: bool = False) -> Any:
        code = main([*arguments, "--json", "--workspace", str(workspace.root)])
        out, err = capsys.readouterr()
        assert code == (2 if refused else 0), err
        return err if refused else json.loads(out)

    return run


@pytest.fixture
def lora(mini_folder: Path) -> Lora:
    """For one layer of mini, of rank 2 and alpha 6."""
    width = json.loads((mini_folder / "transformer" / "config.json").read_text())
    size = width["num_attention_heads"] * width["attention_head_dim"]
    torch.manual_seed(0)
    sides = {"A": torch.randn(2, size), "B": torch.randn(size, 2)}
    return Lora(tensors={f"{LAYER}.lora_{side}.weight": t for side, t in sides.items()}, alphas={LAYER: 6.0})


def product(folder: Path) -> torch.Tensor:
    read = read_parts(folder)["transformer"]
    down, up = (read.tensors[f"{LAYER}.lora_{side}.weight"] for side in "AB")
    return up @ down * (read.alphas[LAYER] / len(down))


@pytest.mark.parametrize("form", ["diffusers", "comfyui", "kohya"])
def test_an_exported_adapter_comes_back(
    workspace: Workspace, dailies: Command, lora: Lora, form: str, tmp_path: Path
) -> None:
    made = add_adapter(
        workspace, "mine", AdapterCard(model="mini"), lambda path: write_parts(path, {"transformer": lora})
    )
    exported = dailies("adapters", "export", "mine", str(tmp_path / "out"), "--format", form)
    (file,) = exported["files"]
    assert file == (WEIGHTS_FILE if form == "diffusers" else "mine.safetensors")
    dailies("adapters", "import", "again", str(tmp_path / "out" / file), "--model", "mini")
    assert torch.allclose(product(workspace.adapters / "again"), product(made), rtol=1e-5, atol=1e-5)
    assert {row["name"]: row["model"] for row in dailies("adapters", "ls")} == {"again": "mini", "mine": "mini"}


def test_a_runs_export_has_the_format_asked_for(
    workspace: Workspace, dailies: Command, lora: Lora, tmp_path: Path
) -> None:
    run = Run.create(workspace, load_train_preset("mini_nft"))
    assert "has no weights yet" in dailies("runs", "export", run.id, str(tmp_path / "out"), refused=True)
    write_parts(run.adapter, {"transformer": lora})
    exported = dailies("runs", "export", run.id, str(tmp_path / "out"), "--format", "kohya")
    assert {f"{run.id}.safetensors", "resolved.json"} == set(exported["files"])
    tensors = load_file(tmp_path / "out" / f"{run.id}.safetensors")
    assert float(tensors["lora_unet_transformer_blocks_0_attn1_to_q.alpha"]) == 6
    assert "already exists" in dailies("runs", "export", run.id, str(tmp_path / "out"), refused=True)
    assert "invalid choice: 'onnx'" in dailies("export", run.id, "onnx", "--format", "onnx", refused=True)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in dailies("runs", "export", run.id, str(tmp_path / "file" / "out"), refused=True)


def test_what_is_refused_leaves_nothing(workspace: Workspace, dailies: Command, lora: Lora, tmp_path: Path) -> None:
    add_adapter(
        workspace, "cog", AdapterCard(model="cogvideox_2b"), lambda path: write_parts(path, {"transformer": lora})
    )
    sentence = dailies("adapters", "export", "cog", str(tmp_path / "out"), "--format", "comfyui", refused=True)
    assert "CogVideoX has no comfyui format" in sentence
    assert "Did you mean 'cog'" in dailies("adapters", "export", "cogg", str(tmp_path / "out"), refused=True)
    (workspace.adapters / "cog" / WEIGHTS_FILE).write_bytes(b"torn")
    assert "cannot be read" in dailies("adapters", "export", "cog", str(tmp_path / "out"), refused=True)
    assert list(tmp_path.glob("*out*")) == [] and list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("key", "sentence"),
    [("lokr_w1", "is a LoKr adapter"), ("hada_w1_a", "is a LyCORIS adapter"), ("dora_scale", "is a DoRA adapter")],
)
def test_other_kinds_are_named(
    workspace: Workspace, dailies: Command, lora: Lora, key: str, sentence: str, tmp_path: Path
) -> None:
    save_file(dict(lora.tensors) | {f"{LAYER}.{key}": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    got = dailies("adapters", "import", "a", str(tmp_path / "a.safetensors"), "--model", "mini", refused=True)
    assert sentence in got and not (workspace.adapters / "a").exists()


def test_a_fused_model_and_a_start_have_every_adapter_at_its_scale(
    workspace: Workspace, dailies: Command, lora: Lora, mini_folder: Path, tmp_path: Path
) -> None:
    for name in ("mine", "yours"):
        add_adapter(workspace, name, AdapterCard(model="mini"), lambda path: write_parts(path, {"transformer": lora}))
    both = ("--adapter", "mine", "--adapter", "yours", "--adapter-scale", "0.5", "--adapter-scale", "1")
    dailies("adapters", "fuse", str(tmp_path / "out"), "--model", "mini", *both)
    plain, fused = (load_whole(folder / "transformer")[f"{LAYER}.weight"] for folder in (mini_folder, tmp_path / "out"))
    difference = lora.tensors[f"{LAYER}.lora_B.weight"] @ lora.tensors[f"{LAYER}.lora_A.weight"] * 3
    assert torch.allclose(fused.float() - plain.float(), 1.5 * difference, rtol=1e-2, atol=2e-2)  # of bfloat16
    assert "already exists" in dailies(
        "adapters", "fuse", str(tmp_path / "out"), "--model", "mini", *both, refused=True
    )
    assert "2 --adapter-scale for 1 --adapter" in dailies(
        "adapters", "fuse", "new", "--model", "mini", *both[2:], refused=True
    )
    refusal = dailies("adapters", "fuse", "new", "--model", "animatediff_sd15", "--adapter", "mine", refused=True)
    assert "takes motion_adapter from other folders" in refusal
    start = ("--start", "mine", "--start-scale", "0.5", "--start", "yours", "--start-scale", "1")
    lock = try_lock(workspace.worker_lock)  # no worker starts
    dailies("train", "mini_nft", "--queue", *start)
    assert lock is not None
    os.close(lock)
    (run,) = list_runs(workspace)
    assert torch.allclose(product(run.start), 1.5 * difference, atol=1e-5)
    assert read_parts(run.start)["transformer"].ranks == {LAYER: 4}


def test_a_run_names_the_adapters_that_it_began_with_and_keeps_a_students_steps(
    workspace: Workspace, dailies: Command, lora: Lora
) -> None:
    few = {"guidance": 1.0, "distilled": True}
    cards = {"plain": {}, "fast": {"num_steps": 4, **few}, "faster": {"num_steps": 2, **few}}
    for name, card in cards.items():
        made = AdapterCard(model="mini", **card)  # type: ignore[arg-type]
        add_adapter(workspace, name, made, lambda path: write_parts(path, {"transformer": lora}))
    lock = try_lock(workspace.worker_lock)  # no worker starts
    train = ("train", "mini_nft", "--queue", "--set", "num_steps=null")
    for names in (["plain"], ["plain", "fast"], []):
        dailies(*train, *(word for name in names for word in ("--start", name)))
    both, together = ("--start", "fast", "--start", "faster"), "'fast' to 4 and 'faster' to 2"
    assert f"distilled to different steps ({together})" in dailies(*train, *both, refused=True)
    dailies(*train, "--start", "fast", "--start-scale", "0.5")
    assert lock is not None
    os.close(lock)
    found = {start_of(run): run.preset().settings.get("num_steps") for run in list_runs(workspace)}
    assert found == {"plain": None, "plain + fast": 4, "": None, "fast at 0.5": 4}
    assert sorted(differences(list_runs(workspace))[0]["values"]) == sorted(found)


def load_whole(folder: Path) -> dict[str, torch.Tensor]:
    return {key: tensor for file in folder.glob("*.safetensors") for key, tensor in load_file(file).items()}


def test_the_list_says_what_an_adapter_is_and_whether_it_fits(
    workspace: Workspace, dailies: Command, lora: Lora, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, other in (("fits", LAYER), ("misfits", LAYER.replace("blocks.0", "blocks.99"))):
        tensors = {key.replace(LAYER, other): tensor for key, tensor in lora.tensors.items()}
        write_parts(tmp_path / name, {"transformer": Lora(tensors=tensors, alphas={other: 6.0})})
    file = str(tmp_path / "fits" / WEIGHTS_FILE)
    dailies("adapters", "import", "look", file, "--model", "mini", "--trigger", "in the style of rain")
    card = AdapterCard(model="ltx", note="by hand")
    add_adapter(workspace, "wrong", card, lambda path: write_parts(path, read_parts(tmp_path / "misfits")))
    look, wrong = dailies("adapters", "ls", "--model", "mini")
    assert (look["model"], look["ranks"], look["trigger"], look["fits"]) == ("mini", "2", "in the style of rain", "yes")
    assert look["note"] == f"Imported from {WEIGHTS_FILE}." and wrong["note"] == "by hand"
    assert "'wrong' does not fit the model in" in wrong["fits"] and "blocks.99" in wrong["fits"]
    (again,) = (row for row in dailies("adapters", "ls", "--model", "animatediff_sd15") if row["name"] == "look")
    assert again["fits"].startswith("seen when it is used")
    (workspace.adapters / "wrong" / WEIGHTS_FILE).write_bytes(b"torn")
    assert main(["adapters", "ls", "--workspace", str(workspace.root)]) == 0
    printed = capsys.readouterr().out
    assert "in the style of rain" in printed and "cannot be read" in printed


def test_an_adapter_is_deleted_unless_a_job_needs_it(workspace: Workspace, dailies: Command, lora: Lora) -> None:
    add_adapter(workspace, "look", AdapterCard(model="mini"), lambda path: write_parts(path, {"transformer": lora}))
    with closing(Library(workspace)) as library:
        queue = JobQueue(library)
        job = queue.submit(JobSpec.generate([GenerationRequest(prompt="p", model="mini", adapter="look")]))
        told = dailies("adapters", "rm", "look", "--yes", refused=True)
        assert (
            f"'look' is needed by the job {job.id} (generate): cancel it" in told
            and (workspace.adapters / "look").is_dir()
        )
        queue.cancel(job.id)
    assert dailies("adapters", "rm", "look", "--yes") == {"name": "look"}
    assert not (workspace.adapters / "look").exists()
    assert "Unknown adapter 'look'" in dailies("adapters", "rm", "look", "--yes", refused=True)
