"""`run_benchmark` and `dailies bench` on `mini`."""

import json

import pytest

from engine.benchmark.iteration import benchmark_preset, measure_iteration, updates_per_iteration
from engine.benchmark.report import BenchmarkReport, Measurement, read_report
from engine.benchmark.suite import BenchmarkPlan, run_benchmark
from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.errors import TrainingError

SMALL = {"num_frames": 9, "num_steps": 2, "num_generations": 2, "per_device_train_batch_size": 2}


def small_preset(**settings):
    changes = {"mix": "motion", "settings": {**SMALL, "gradient_accumulation_steps": 1, **settings}}
    return load_train_preset("mini_nft", changes)


def test_generation_and_rewards_are_measured():
    plan = BenchmarkPlan(model="mini", mix="mini", train_preset=None, num_frames=9, repeats=2)
    *rows, report = run_benchmark(plan)
    assert isinstance(report, BenchmarkReport) and list(report.measurements) == rows
    measured = {row.name: row for row in rows}
    assert {"matmul", "encode_text", "denoise_step", "decode", "clip", "reward/all", "reward/framing"} <= set(measured)
    assert all(0 < row.low <= row.value <= row.high and row.repeats == 2 for row in rows)
    assert measured["clip"].value > measured["denoise_step"].value
    assert measured["clip"].settings["num_frames"] == 9
    assert "33" not in report.skipped["reward/seam"] and "9 frames" in report.skipped["reward/seam"]


def test_parts_of_an_iteration_sum_to_its_time():
    rows = {row.name: row for row in measure_iteration(small_preset(num_iterations=2), iterations=1)}
    assert all(isinstance(row, Measurement) for row in rows.values())
    parts = ("rollout", "decode", "score", "update")
    total = sum(rows[f"iteration/{part}"].value for part in parts)
    assert rows["iteration/all"].repeats == 1, "or these were medians, whose sum is not the sum's median"
    assert total == pytest.approx(rows["iteration/all"].value, rel=0.2)
    assert rows["iteration/network"].value > 0 and rows["iteration/network"].unit == "TFLOP/s"


def test_an_iteration_holds_all_updates_of_a_generation_batch():
    assert updates_per_iteration(small_preset(num_iterations=3)) == 3
    assert updates_per_iteration(small_preset(num_iterations=1)) == 1
    assert updates_per_iteration(load_train_preset("mini_distill")) == 1
    shortened = benchmark_preset(small_preset(num_iterations=3), 2)
    assert shortened.settings["max_steps"] == 9 and shortened.settings["sample_clips"] == 0
    assert shortened.alarms.every == 0


def test_a_failing_run_gives_its_reason():
    with pytest.raises(TrainingError, match=r"exit code \d+: .*4 frames"):
        list(measure_iteration(small_preset(num_frames=4), iterations=1))


def test_command_writes_and_compares_reports(tmp_path, capsys):
    file = tmp_path / "a.json"
    arguments = ["bench", "run", "--frames", "9", "--mix", "none", "--preset", "none", "--repeats", "1"]
    assert main([*arguments, "--out", str(file)]) == 0
    assert "denoise_step" in capsys.readouterr().out
    assert [row.name for row in read_report(file).measurements] == [
        "matmul",
        "encode_text",
        "denoise_step",
        "decode",
        "clip",
    ]
    assert main(["bench", "compare", str(file), str(file), "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert all(change["ratio"] == 1 and change["overlaps"] for change in changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "--repeats 0"),
        (["--iterations", "-1"], "--iterations -1"),
        (["--model", "minj"], "minj"),
        (["--preset", "mini_grp"], "mini_grp"),
        (["--preset", "mini_dpo"], "mini_dpo"),
        (["--out", "nowhere/a.json"], "nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_measured(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "run", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and not captured.out
