"""Contract of all runners: a detached process, a Ray job, a task of submitit.

The tests of Ray need `pip install -e '.[ray]'` and start a cluster of their own on loopback.
"""

import importlib.util
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.errors import ConfigError, JobError
from engine.execution.process_runner import Handle, ProcessRunner, find_running, load_handle, open_runner, save_handle
from engine.execution.ray_jobs import ADDRESS, RayRunner
from engine.execution.resources import Resources
from engine.execution.slurm import OPTIONS, SlurmRunner

from .ray_cluster import Cluster, needs_ray

needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="submitit is an extra: pip install -e '.[slurm]'"
)
Until = Callable[..., None]
STEADY = "import time\nprint('begun', flush=True)\ntime.sleep(300)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{STEADY}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.started() as cluster:
        yield cluster


@pytest.fixture(
    params=[
        "local",
        pytest.param("ray", marks=[needs_ray, pytest.mark.slow]),  # test_executors.py has one job in the suite
        pytest.param("slurm", marks=needs_submitit),
    ]
)
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ProcessRunner]:
    """Makes runner objects that share nothing but the machine."""
    if request.param == "ray":
        monkeypatch.setenv(ADDRESS, request.getfixturevalue("cluster").address)
    return lambda: SlurmRunner(cluster="local") if request.param == "slurm" else open_runner(request.param)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def submit(run_dir: Path, tmp_path: Path, until: Until) -> Iterator[Callable[..., Handle]]:
    """Submits a Python program; what still runs when the test is over is killed."""
    begun: list[tuple[ProcessRunner, Handle]] = []

    def start(runner: ProcessRunner, program: str, resources: Resources | None = None, **env: str | None) -> Handle:
        argv = [sys.executable, "-c", textwrap.dedent(program)]
        resources = resources or Resources(cpus=0.1)
        handle = runner.submit(argv, env=env, cwd=tmp_path, resources=resources, run_dir=run_dir)
        begun.append((runner, handle))
        return handle

    yield start
    for runner, handle in begun:
        if not runner.poll(handle).is_over:
            runner.cancel(handle, 0)
            until(lambda runner=runner, handle=handle: runner.poll(handle).is_over, "the process to be killed")


def says(handle: Handle, text: bytes) -> Callable[[], bool]:
    log = handle.attempt.log
    return lambda: log.is_file() and text in log.read_bytes()


def pid_in(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "pid").read_text()))


def test_success(runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until) -> None:
    one = runner()
    handle = submit(one, "print('done')")
    until(lambda: one.poll(handle).is_over, "the end")
    assert (one.poll(handle).state, one.poll(handle).exit_code) == ("ended", 0)
    assert handle.attempt.log.read_bytes().endswith(b"done\n")


def test_failure_gives_its_exit_code(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until
) -> None:
    one = runner()
    handle = submit(one, "import sys; sys.exit(7)")
    until(lambda: one.poll(handle).is_over, "the end")
    assert (one.poll(handle).state, one.poll(handle).exit_code) == ("ended", 7)


def test_what_cannot_be_started_says_so(runner: Callable[[], ProcessRunner], run_dir: Path, until: Until) -> None:
    one = runner()
    argv, cwd = ["no-such-program"], run_dir
    handle = one.submit(argv, env={}, cwd=cwd, resources=Resources(cpus=0.1), run_dir=run_dir)
    until(lambda: one.poll(handle).is_over, "the end")
    assert one.poll(handle).exit_code == 127
    assert b"no-such-program cannot be started: No such file or directory." in handle.attempt.log.read_bytes()


def test_the_log_grows_while_the_process_runs(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until, tmp_path: Path
) -> None:
    one, gate = runner(), tmp_path / "gate"
    handle = submit(
        one,
        f"""
        import pathlib, time
        print("one", flush=True)
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.02)
        print("two", flush=True)
        """,
    )
    until(says(handle, b"one\n"), "the first line")
    assert not one.poll(handle).is_over
    gate.touch()
    until(lambda: one.poll(handle).is_over, "the end")
    assert handle.attempt.log.read_bytes().split() == [b"one", b"two"]


def test_cancel_is_term_first(runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until) -> None:
    one = runner()
    handle = submit(
        one,
        """
        import signal, sys, time
        def end(*_):
            print("saved", flush=True)
            sys.exit(3)
        signal.signal(signal.SIGTERM, end)
        print("begun", flush=True)
        time.sleep(300)
        """,
    )
    until(says(handle, b"begun"), "the beginning")
    one.cancel(handle, 60)
    until(lambda: one.poll(handle).is_over, "the end")
    assert one.poll(handle).exit_code == 3 and says(handle, b"saved")()


def test_cancel_is_kill_in_the_end(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until
) -> None:
    one = runner()
    handle = submit(one, STUBBORN)
    until(says(handle, b"begun"), "the beginning")
    one.cancel(handle, 0.2)
    until(lambda: one.poll(handle).is_over, "the end")
    assert one.poll(handle).exit_code == -signal.SIGKILL


def test_less_patience_counts_also_later(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until
) -> None:
    one = runner()
    handle = submit(one, STUBBORN)
    until(says(handle, b"begun"), "the beginning")
    one.cancel(handle, 600)
    assert not one.poll(handle).is_over
    runner().cancel(handle, 0)
    until(lambda: one.poll(handle).is_over, "the end")


def test_somebody_else_takes_it_up(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until, run_dir: Path
) -> None:
    first = runner()
    submit(first, STEADY)
    del first
    handle, other = load_handle(run_dir), runner()
    assert handle is not None and other.reattach(handle)
    until(says(handle, b"begun"), "the beginning")
    other.cancel(handle, 60)
    until(lambda: other.poll(handle).is_over, "the end")
    assert other.poll(handle).exit_code == -signal.SIGTERM and not runner().reattach(handle)


def test_a_handle_is_good_in_a_copy_of_its_folder(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until, run_dir: Path
) -> None:
    one = runner()
    handle = submit(one, "print('done')")
    until(lambda: one.poll(handle).is_over, "the end")
    found = load_handle(shutil.copytree(run_dir, run_dir.with_name("copy")))
    assert found is not None and one.poll(found).exit_code == 0


def test_the_environment_is_passed_and_taken_away(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("DAILIES_MARK", "of the workbench")
    one = runner()
    handle = submit(
        one,
        "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k in "
        "('GIVEN', 'DAILIES_MARK', 'ROCR_VISIBLE_DEVICES', 'DAILIES_DATABASE_URL')}))",
        GIVEN="a b\n'c'",
        ROCR_VISIBLE_DEVICES=None,
    )
    until(lambda: one.poll(handle).is_over, "the end")
    assert json.loads(handle.attempt.log.read_bytes().splitlines()[-1]) == {
        "GIVEN": "a b\n'c'",
        "DAILIES_MARK": "of the workbench",
    }


def test_several_processes_are_torchruns(
    runner: Callable[[], ProcessRunner], submit: Callable[..., Handle], until: Until, tmp_path: Path
) -> None:
    """Two ranks add up what they are; when their attendant is killed, neither is left behind."""
    one = runner()
    handle = submit(
        one,
        f"""
        import os, pathlib, time, torch, torch.distributed as dist
        dist.init_process_group("gloo")
        mine = torch.tensor([dist.get_rank() + 1])
        dist.all_reduce(mine)
        pathlib.Path({str(tmp_path)!r}, f"rank{{dist.get_rank()}}").write_text(f"{{mine.item()}} {{os.getpid()}}")
        time.sleep(300)
        """,
        Resources(processes=2, cpus=0.1),
        OMP_NUM_THREADS="1",
    )
    files = [tmp_path / "rank0", tmp_path / "rank1"]
    until(lambda: all(file.exists() and file.read_text() for file in files), "both ranks")
    sums, pids = zip(*(file.read_text().split() for file in files), strict=True)
    ranks = [psutil.Process(int(pid)) for pid in pids]
    assert sums == ("3", "3") and ranks[0].pid != ranks[1].pid
    attendant(ranks[0]).kill()
    until(lambda: not any(rank.is_running() for rank in ranks), "both ranks to be gone")
    until(lambda: one.poll(handle).is_over, "the runner to see it")
    lost = one.poll(handle)
    assert lost.state == "lost" and lost.sentence.endswith(".")


def attendant(process: psutil.Process) -> psutil.Process:
    return next(one for one in process.parents() if "engine.execution.supervisor" in one.cmdline())


# ---- What only some can suffer
def test_a_pid_that_another_program_has_now_is_not_taken_for_it(submit: Callable[..., Handle], until: Until) -> None:
    from dataclasses import replace

    one = open_runner("local")
    handle = submit(one, STEADY)
    assert handle.process is not None
    until(says(handle, b"begun"), "the beginning")
    stale = replace(handle, process=replace(handle.process, started_s=handle.process.started_s - 60))
    assert one.poll(stale).state == "lost" and one.poll(handle).state == "running"


def test_a_process_of_another_machine_is_said_to_be(submit: Callable[..., Handle]) -> None:
    from dataclasses import replace

    one = open_runner("local")
    handle = submit(one, STEADY)
    assert handle.process is not None
    foreign = replace(handle, process=replace(handle.process, host="elsewhere"))
    assert "started on the machine elsewhere" in one.poll(foreign).sentence


def test_a_damaged_handle_is_none(run_dir: Path) -> None:
    assert load_handle(run_dir) is None
    (run_dir / "process.json").write_text('{"runner": "lo')
    assert load_handle(run_dir) is None
    (run_dir / "process.json").write_text('{"runner": "local"}')
    assert load_handle(run_dir) is None
    handle = Handle(runner="local", folder=run_dir, id="0")
    assert save_handle(handle) == load_handle(run_dir)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "but is not set"),
        ({ADDRESS: "ray://head:10001"}, "such as http://head:8265, but is ray://head:10001"),
        ({ADDRESS: "http://head:8265", "RAY_ADDRESS": "other:6379"}, "unset RAY_ADDRESS"),
    ],
)
def test_an_address_that_will_not_do(settings: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=sentence):
        open_runner("ray")


@needs_submitit
@pytest.mark.parametrize(
    ("options", "sentence"),
    [("slurm_partition", "but got 'slurm_partition'"), ("slurm_partitoin=gpu", "Slurm cannot be used here")],
)
def test_slurm_options_that_will_not_do(
    options: str, sentence: str, submit: Callable[..., Handle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPTIONS, options)
    with pytest.raises(ConfigError, match=sentence):
        submit(SlurmRunner(cluster="local"), STEADY)


def test_a_process_is_found_though_who_started_it_could_not_write_it_down(
    submit: Callable[..., Handle], run_dir: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a Ctrl-C between the start of a process and its record, the next attendant watches it."""
    runner = open_runner("local")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr("engine.execution.local.save_local_handle", interrupted)
        submit(runner, STEADY)
    until(lambda: load_handle(run_dir), "the process to tell who it is")
    found = find_running(run_dir)
    assert found is not None
    until(says(found[1], b"begun"), "the beginning")
    runner.cancel(found[1], 0)
    until(lambda: runner.poll(found[1]).is_over, "the process to be killed")
    assert runner.poll(found[1]).exit_code == -signal.SIGKILL and find_running(run_dir) is None


@needs_ray
def test_a_cluster_that_is_not_there(submit: Callable[..., Handle], run_dir: Path) -> None:
    with pytest.raises(JobError, match="does not answer"):
        submit(RayRunner("http://127.0.0.1:9"), STEADY)
    assert load_handle(run_dir) is None


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_dies_takes_the_job_with_it_and_another_one_goes_on(
    submit: Callable[..., Handle], until: Until, run_dir: Path, tmp_path: Path
) -> None:
    """Its processes end with it, the job reports the loss, and the same folder can be resumed elsewhere."""
    program = f"import os, pathlib; pathlib.Path({str(tmp_path)!r}, 'pid').write_text(str(os.getpid()))\n{STUBBORN}"
    with Cluster.started() as doomed:
        one = RayRunner(doomed.address, patience_s=1)
        handle = submit(one, program)
        until(says(handle, b"begun"), "the beginning")
        process = pid_in(tmp_path)
        doomed.kill()
        until(lambda: one.poll(handle).is_over, "the runner to see it")
    lost = one.poll(handle)
    assert lost.state == "lost" and "has not answered for 1 s" in lost.sentence and lost.sentence.endswith("resume.")
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its process to end")
    assert os.path.exists(run_dir / "attempts" / handle.id)
    other = open_runner("local")
    assert not one.reattach(handle)
    again = submit(other, "print('gone on')")
    until(lambda: other.poll(again).is_over, "the end")
    assert load_handle(run_dir) == again and says(again, b"gone on")()
