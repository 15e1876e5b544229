"""Short forms of the kill storm (`make faults` is the long one), and that its verdicts can fail."""

import json
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


# Tests of the suite kill one process at a chosen moment: in engine/jobs, test_kills.py and test_worker.py.
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("kills", "runs", "gap_s"), [(2, 1, 4.0), (6, 3, 8.0)], ids=["two", "six"])
def test_a_few_kills(kills: int, runs: int, gap_s: float, python: str, root: Path, tmp_path: Path) -> None:
    command = [python, str(HERE / "kill_storm.py"), "--seed", "3", "--keep", str(tmp_path / "storm")]
    command += ["--kills", str(kills), "--runs", str(runs), "--gap-s", str(gap_s)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    assert done.returncode == 0, f"{lines[-1:]}\n{done.stderr[-2000:]}"
    found = json.loads(lines[-1])
    assert (found["kills"], found["problems"], found["different_weights"]) == (kills, [], 1)
    assert found["runs"] >= runs and found["jobs"]["done"] >= found["runs"]


@pytest.mark.parametrize(
    ("events", "legal"),
    [
        ("queued running done", True),
        ("queued cancelled", True),
        ("queued running adopted adopted failed", True),
        ("queued running queued running stopping cancelled", True),
        ("queued running adopted stopping adopted cancelled", True),
        ("queued running", False),
        ("queued running running done", False),
        ("queued running lost running done", False),
        ("queued running done done", False),
        ("running done", False),
    ],
)
def test_what_a_job_may_go_through(events: str, legal: bool) -> None:
    from verdicts import LEGAL

    assert bool(LEGAL.match(f"{events} ")) == legal


def test_two_that_train_one_run_are_seen_in_its_steps(tmp_path: Path) -> None:
    from verdicts import _of_metrics

    from engine.runs.run import Run

    def run(name: str, steps: list[int], attempts: int) -> Run:
        made = Run(tmp_path / "workspace" / "runs" / name)
        for number in range(attempts):
            (made.folder / "attempts" / str(number)).mkdir(parents=True)
        for at, step in enumerate(steps):
            made.append_metrics(step, {"loss": 1.0, "at": float(at)})
        return made

    assert list(_of_metrics(run("once", [1, 2, 3, 4], 1), 4)) == []
    assert list(_of_metrics(run("resumed", [1, 2, 3, 3, 4], 2), 4)) == []
    [twice] = _of_metrics(run("twice", [1, 1, 2, 2, 3, 3, 4, 4], 2), 4)
    assert "two trained it at once" in twice
    missing = list(_of_metrics(run("missing", [1, 2, 4], 1), 4))
    assert any("steps were left out: [(2, 4)]" in one for one in missing) and len(missing) == 3


def test_a_torn_checkpoint_is_seen(tmp_path: Path) -> None:
    from verdicts import _of_checkpoint

    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    (folder / "trainer_state.json").write_text('{"global_step": 3')
    [torn] = _of_checkpoint(folder)
    assert "is torn" in torn
    (folder / "trainer_state.json").write_text('{"global_step": 2}')
    (folder / "weights.safetensors").write_bytes(b"\x08\x00")
    of_another_step, torn = _of_checkpoint(folder)
    assert "is of step 2" in of_another_step and "is torn" in torn
