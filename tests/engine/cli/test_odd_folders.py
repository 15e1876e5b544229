"""The whole loop from a shell (generate, score, pair, train, export, use) where every path holds an odd name."""

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.jobs.handlers.train import publish
from engine.runs.run import Run
from engine.storage.library import Library
from engine.training.main import Recorder, train
from engine.training.run_creation import create_run
from engine.workspace import Workspace

NFC, NFD = (unicodedata.normalize(form, "Šárka 雪") for form in ("NFC", "NFD"))
ODD = {
    "signs": f'it\'s "100%"  %s %20 {{x}} [a]*? #1 `x` $HOME;& {NFC} {NFD} ',
    "leading dash": "-rf --out",
    "line break": "one\ntwo",
    "symlink": "link",
    "long": "/".join(["long" * 60, "deep" * 20]),
}
PRESET = """
title = "Odd folders"
algorithm = "dpo"
model = "tiny"
[settings]
beta = 1.0
num_frames = 17
width = 64
height = 64
num_steps = 2
lora_rank = 2
max_steps = 2
per_device_train_batch_size = 1
gradient_accumulation_steps = 1
save_steps = 1
logging_steps = 1
sample_clips = 0
[alarms]
every = 0
"""
SMALL = ("--frames", "9", "--width", "32", "--height", "32", "--steps", "1", "--seed", "1", "--mix", "tiny")


@pytest.fixture(params=["all", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ODD)])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with an odd name, relative to the working directory."""
    names = [name for kind, name in ODD.items() if request.param in (kind, "all")]
    monkeypatch.chdir(tmp_path)
    folder = Path(names[0])
    for name in names:
        folder = folder if name is names[0] else folder / name
        if name == ODD["symlink"]:
            target = tmp_path / "real folder"
            target.mkdir()
            folder.symlink_to(target)
        else:
            folder.mkdir(parents=True)
    return str(folder)


@pytest.fixture
def dailies(folder: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`dailies("runs", "ls")`: what the command prints as JSON, in the odd folder's workspace."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        split = words.index("--") if "--" in words else len(words)
        code = main([*words[:split], "--json", f"--workspace={folder}/w", *words[split:]])
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    return run


@pytest.fixture
def model(tiny_model: str, tiny_folder: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The toy model and its presets, moved into the odd folder."""
    presets = Path(folder, "presets")
    shutil.move(os.environ["DAILIES_PRESETS"], presets)
    shutil.copytree(tiny_folder, Path(folder, "model"))
    file = presets / "models" / "tiny.toml"
    source = json.dumps(str(Path(folder, "model").absolute()))
    lines = [f"source = {source}" if line.startswith("source") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines))
    (presets / "train").mkdir()
    (presets / "train" / "odd.toml").write_text(PRESET)
    monkeypatch.setenv("DAILIES_PRESETS", str(presets))
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    return tiny_model


def trained(folder: str, pairs: Path) -> Run:
    """A run to its end, as its own process would train it."""
    store = Library(Workspace(Path(folder, "w")))
    try:
        run = create_run(store, load_train_preset("odd", {"pairs": str(pairs)}), None)
    finally:
        store.close()
    assert train(run, Recorder(run))
    assert publish(run, run.workspace) == run.id
    return run


def test_the_whole_loop(folder: str, model: str, dailies: Callable[..., Any]) -> None:
    (clip,) = dailies("generate", "a red circle", "--model", model, *SMALL, f"--out={folder}/out")["clips"]
    assert clip["report"]["mix"] == "tiny"
    copied = Path(folder, "out", clip["id"])
    assert {"frames.mkv", "clip.mp4", "report.json"} <= {path.name for path in copied.iterdir()}
    videos = Path(folder, "videos")
    videos.mkdir()
    shutil.copy(copied / "frames.mkv", videos / f"{Path(folder).name}.mkv")
    scored = dailies("score", "--mix", "tiny", "--", str(videos / f"{Path(folder).name}.mkv"))
    again = dailies("score", "--mix", "tiny", "--", str(videos))
    assert scored["clip_ids"] == again["clip_ids"] and not scored["unscored"] and not again["unread"]
    pairs = Path(folder, "pairs")
    made = dailies("pairs", *("--model", model, "--mix", "tiny", "--num-prompts", "1"), "--margin=0", "--", str(pairs))
    assert made["pairs"] == 1
    run = trained(folder, pairs / "pairs.jsonl")
    assert [row["run"] for row in dailies("runs", "ls")] == [run.id]
    exported = dailies("export", run.id, "--", f"{folder}/export")
    assert {"pytorch_lora_weights.safetensors", "resolved.json"} <= set(exported["files"])
    (used,) = dailies("generate", "a red circle", "--model", model, *SMALL, "--adapter", run.id)["clips"]
    assert used["adapter"] == run.id and used["id"] != clip["id"]
    half = ("--adapter", run.id, "--adapter-scale", "0.5")
    (weaker,) = dailies("generate", "a red circle", "--model", model, *SMALL, *half)["clips"]
    assert weaker["adapter"] == f"{run.id} 0.5" and weaker["id"] != used["id"]
    assert Path(dailies("database", "backup")["path"]).is_file()
