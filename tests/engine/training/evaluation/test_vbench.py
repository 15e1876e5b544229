"""`dailies vbench` on a tiny model: videos of both sides, repetition, and scores in the evaluation."""

import json
import shutil
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.runs.adapters import AdapterCard, write_card
from engine.runs.run import Run
from engine.video.reader import read_video
from engine.workspace import Workspace

SUITE = [
    {"prompt_en": "a red circle", "dimension": ["Camera_Motion"]},
    {"prompt_en": "a blue square", "dimension": ["Camera_Motion", "Material"]},
]


@pytest.fixture
def run(preset: str, tiny_lora: Path, workspace: Workspace) -> Run:
    """A run whose adapter changes the tiny model much, put there instead of trained."""
    run = Run.create(workspace, load_train_preset(preset))
    shutil.copytree(tiny_lora, run.adapter)
    write_card(run.adapter, AdapterCard(model="tiny"))
    return run


def test_videos_of_both_sides_are_written_once(
    run: Run, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "VBench2_full_info.json"
    info.write_text(json.dumps(SUITE))
    out = tmp_path / "out"
    where = ["--workspace", str(workspace.root)]
    command = ["vbench", "videos", run.id, str(out), "--info", str(info), "--json", *where]
    assert main([*command, "--side", "after", "--dimension", "Material"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 3
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 6 + 3 + 3  # a file that a folder lacks is made again
    names = {str(path.relative_to(out / "before")) for path in (out / "before").rglob("*.mp4")}
    assert names == {str(path.relative_to(out / "after")) for path in (out / "after").rglob("*.mp4")}
    assert len(names) == 9 and "Material/a blue square-2.mp4" in names
    before, after = (read_video(out / side / "Material" / "a blue square-0.mp4") for side in ("before", "after"))
    assert before.frames.shape == (9, 32, 32, 3)
    assert abs(before.frames.astype(int) - after.frames).mean() > 1, "the adapter made other clips"
    same = read_video(out / "before" / "Camera_Motion" / "a blue square-0.mp4")
    assert (same.frames == before.frames).all()

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")} == times

    others = [path for path in (out / "after").rglob("*") if path.is_file() and path.suffix != ".mp4"]
    assert others == [], "VBench takes the suffix of any file for that of the videos"
    origin = out / "after.json"
    origin.write_text(origin.read_text().replace(run.id, "another"))
    assert main(command) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_scores_become_measures_with_intervals(
    run: Run, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--workspace", str(workspace.root)]
    files = []
    for side, gain in (("before", 0.0), ("after", 0.25)):
        values = {f"prompt {n}-{take}.mp4": 0.1 * n + gain for n in range(5) for take in range(2)}
        rows = [{"video_path": f"/x/{name}", "video_results": value} for name, value in values.items()]
        results = {"subject_consistency": [sum(values.values()) / len(values), rows], "color": [0.5 + gain, []]}
        files.append(tmp_path / f"{side}_eval_results.json")
        files[-1].write_text(json.dumps(results))
    command = ["vbench", "read", run.id, "--before", str(files[0]), "--after", str(files[1]), *where]
    assert main(command) == 2
    assert f"run `dailies evaluate {run.id}` first" in capsys.readouterr().err
    assert main(["evaluate", run.id, "--num-prompts", "2", "--variations", "1", *where]) == 0
    for _ in range(2):  # reading again replaces
        assert main(command) == 0
    assert "vbench/subject_consistency" in capsys.readouterr().out
    evaluation = run.evaluation()
    assert evaluation is not None
    names = [measure.name for measure in evaluation.measures]
    assert names.count("vbench/color") == 1 and "mix" in names
    found = evaluation.measure("vbench/subject_consistency")
    assert found is not None and found.verdict == "better" and found.change.of == 5
    assert (found.before.mean, found.change.mean) == pytest.approx((0.2, 0.25))
    bare = evaluation.measure("vbench/color")
    assert bare is not None and bare.verdict == "unsure" and bare.change.mean == pytest.approx(0.25)

    other = tmp_path / "other.json"
    other.write_text(json.dumps({"scene": [0.5, []]}))
    assert main(["vbench", "read", run.id, "--before", str(files[0]), "--after", str(other), *where]) == 2
    assert "no dimension in common" in capsys.readouterr().err
