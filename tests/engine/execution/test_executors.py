"""One function over many items: in this process, in one of its own, on a Ray cluster; cut off and taken up again."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import JobError
from engine.execution.batch_folder import BatchFolder
from engine.execution.executors import Completed, Executor, InProcessExecutor, Pending, SubprocessExecutor, Task
from engine.execution.process_runner import find_running, open_runner
from engine.execution.ray_jobs import ADDRESS
from engine.execution.resources import Resources

from .ray_cluster import Cluster, needs_ray

HERE = Path(__file__).parent
SLOWLY_S = 240  # Ray starts a process for each thing, which takes long when the machine is busy
NUMBERS = [{"number": number} for number in range(6)]


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small functions, which processes that the test starts can import too."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    importlib.import_module("spread_tasks")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.started() as cluster:
        yield cluster


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    return tmp_path / "hold"


@pytest.fixture
def doubling(diary: Path, hold: Path) -> Task:
    config = {"diary": str(diary), "hold": str(hold), "hold_from": 3}
    return Task(opens="spread_tasks:open_doubler", config=config)


@pytest.fixture(params=["local", pytest.param("ray", marks=[needs_ray, pytest.mark.slow])])
def spread(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Executor]]:
    """Makes executors; what still works when a test is over is ended, or it would keep the cluster from the next."""
    if request.param == "ray":
        monkeypatch.setenv(ADDRESS, request.getfixturevalue("cluster").address)
    resources = Resources(runner=request.param, processes=2, cpus=0.5)
    yield lambda: SubprocessExecutor(tmp_path / "spread", resources, {})
    left = find_running(tmp_path / "spread")
    if left is not None:
        left[0].cancel(left[1], 0)


def doubles(executor: Executor, task: Task) -> dict[int, int]:
    events = [event for event in executor.map(task, NUMBERS) if isinstance(event, Completed)]
    assert all(event.item == NUMBERS[event.index] for event in events)
    return {event.index: event.result["double"] for event in events}


def numbers_in(diary: Path) -> list[int]:
    return [int(line.split()[0]) for line in diary.read_text().splitlines()] if diary.exists() else []


def test_here_each_item_is_done_in_order(doubling: Task, diary: Path) -> None:
    assert list(doubles(InProcessExecutor(), doubling).items()) == [(n, 2 * n) for n in range(6)]
    assert numbers_in(diary) == list(range(6))


@pytest.mark.parametrize("spread", ["local", pytest.param("ray", marks=needs_ray)], indirect=True)
def test_elsewhere_each_item_is_done_once(
    spread: Callable[[], Executor], doubling: Task, diary: Path, tmp_path: Path
) -> None:
    assert doubles(spread(), doubling) == {n: 2 * n for n in range(6)}
    assert sorted(numbers_in(diary)) == list(range(6))
    assert str(os.getpid()) not in {line.split()[1] for line in diary.read_text().splitlines()}
    assert not (tmp_path / "spread").exists(), "nothing is left behind"


def test_what_still_works_is_taken_up(
    spread: Callable[[], Executor], doubling: Task, diary: Path, hold: Path, tmp_path: Path, until: Callable[..., None]
) -> None:
    """The one who waited is gone, as after kill -9: nothing that he stands for is ended, and nothing is done twice."""
    hold.touch()
    first = spread()
    runner, handle = first._begin(doubling, NUMBERS)  # type: ignore[attr-defined]
    files = BatchFolder(tmp_path / "spread")
    until(lambda: len(files.results()[0]) >= 2, "the first results", timeout_s=SLOWLY_S)
    del first, runner
    hold.unlink()
    assert doubles(spread(), doubling) == {n: 2 * n for n in range(6)}
    assert sorted(numbers_in(diary)) == list(range(6))
    until(lambda: open_runner(handle.runner).poll(handle).is_over, "the cluster to see that it has ended")


def test_what_was_finished_is_not_done_again(
    spread: Callable[[], Executor], doubling: Task, diary: Path, hold: Path, tmp_path: Path
) -> None:
    """Closing ends the process; whoever comes next has the rest done."""
    hold.touch()
    events = spread().map(doubling, NUMBERS)
    seen = []
    while len(seen) < 2:
        event = next(events)
        seen += [event.index] if isinstance(event, Completed) else []
    events.close()  # type: ignore[attr-defined]
    assert find_running(tmp_path / "spread") is None
    before = numbers_in(diary)
    hold.unlink()
    assert doubles(spread(), doubling) == {n: 2 * n for n in range(6)}
    again = numbers_in(diary)[len(before) :]
    assert set(seen).isdisjoint(again) and set(again) >= {3, 4, 5}


def test_a_failed_item_is_tried_again(doubling: Task, diary: Path, tmp_path: Path) -> None:
    one, files = SubprocessExecutor(tmp_path / "spread", Resources(), {}), BatchFolder(tmp_path / "spread")
    files.begin({}, [])
    files.append([({"number": -1}, {"error": "It was negative."}), ({"number": 1}, {"double": 20})])
    found = {e.index: e.result for e in one.map(doubling, [{"number": -1}, {"number": 1}]) if isinstance(e, Completed)}
    assert found == {0: {"error": "It is negative."}, 1: {"double": 20}}
    assert numbers_in(diary) == [-1]


def test_a_torn_result_is_left_until_it_is_whole(tmp_path: Path) -> None:
    files = BatchFolder(tmp_path)
    files.append([({"number": 1}, {"double": 2})])
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"item": {"num')
    found, offset = files.results()
    assert found == [({"number": 1}, {"double": 2})]
    assert files.results(offset) == ([], offset)


def test_what_breaks_says_why(spread: Callable[[], Executor]) -> None:
    with pytest.raises(JobError, match=r"6 of 6 items were not completed .*is too much"):
        list(spread().map(Task(opens="spread_tasks:open_breaker"), NUMBERS))


def test_two_do_not_wait_for_the_same(doubling: Task, hold: Path, tmp_path: Path) -> None:
    hold.touch()
    make = lambda: SubprocessExecutor(tmp_path / "spread", Resources(), {}).map(doubling, NUMBERS)  # noqa: E731
    events = make()
    while not isinstance(next(events), Pending):
        pass
    with pytest.raises(JobError, match="waits for the results"):
        next(make())
    events.close()  # type: ignore[attr-defined]


@needs_ray
def test_actors_stay_from_one_map_to_the_next(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, until: Callable[..., None]
) -> None:
    """Inside a Ray job, as a training is; signals go where they went before Ray was joined."""
    monkeypatch.setenv(ADDRESS, cluster.address)
    program = """
import signal, torch
from engine.errors import JobError
from engine.execution.executors import Task
from engine.execution.ray_executors import RayActors
from engine.execution.resources import Resources
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
actors, task = RayActors(Resources(processes=2, cpus=0.5)), Task(opens="spread_tasks:open_counter")
first, second = ([(d.index, *d.result) for d in actors.map(task, [torch.ones(2), "b", "c", "d"])] for _ in range(2))
assert signal.getsignal(signal.SIGTERM) is handler
assert sorted(row[0] for row in first) == [0, 1, 2, 3] and first != second
pids = {row[2] for row in first + second}
assert len(pids) == 2, pids
assert sum(max(calls for *_, pid, calls in first + second if pid == one) for one in pids) == 8
assert torch.equal(next(row[1] for row in second if row[0] == 0), torch.ones(2))
try:
    list(actors.map(Task(opens="spread_tasks:open_breaker"), [1]))
except ValueError as error:
    assert "1 is too much" in str(error)
else:
    raise AssertionError("it should have broken")
actors.close()
print("all is well")
"""
    runner = open_runner("ray")
    resources = Resources(runner="ray", cpus=0.1)
    argv = [sys.executable, "-c", program]
    handle = runner.submit(argv, env={}, cwd=tmp_path, resources=resources, run_dir=tmp_path)
    until(lambda: runner.poll(handle).is_over, "the program", timeout_s=SLOWLY_S)
    said = handle.attempt.log.read_text()
    assert said.endswith("all is well\n"), said
