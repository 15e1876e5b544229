"""One big job or several small ones: what holds a device, what waits for it, and that nothing holds it twice."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from engine.execution.resources import Resources
from engine.hardware.device_visibility import visible_devices_env, visible_names
from engine.hardware.rocm import TorchBuild
from engine.jobs import device_leases
from engine.jobs.device_leases import SLICES_PER_DEVICE, Capacity, Demand, need_of
from engine.jobs.kinds import KINDS
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.process_identity import ProcessIdentity
from engine.storage.schema import LEASES

ME = ProcessIdentity.current()
CUDA = TorchBuild(version="2.11", hip="", cuda="12.8")
ROCM = TorchBuild(version="2.11", hip="7.0", cuda="")


def job(kind: str, **resources: float | str) -> JobSpec:
    return JobSpec(kind=kind, config={"steps": 1}, resources=Resources(**resources))


def held(queue: JobQueue) -> Counter[tuple[str, int]]:
    """How many parts of which device each job holds."""
    with queue.store.database.reading() as connection:
        return Counter((row.job_id, row.device) for row in connection.execute(select(LEASES)))


def test_a_big_job_has_the_device_alone(queue):
    big, small = queue.submit(job("aside")), queue.submit(JobSpec(kind="small", config={}, priority="normal"))
    assert queue.claim(ME).id == big.id
    assert queue.claim(ME) is None, "the small one waits"
    assert queue.holder(queue.need_of(small.kind, small.resources)).id == big.id
    queue.finish(big.id, "done")
    assert held(queue) == {} and queue.holder(queue.need_of(small.kind, small.resources)) is None
    assert queue.claim(ME).id == small.id


def test_no_job_without_a_device_takes_the_one_place_in_the_worker():
    """Else a campaign that a server judges for hours stops each job that makes or scores clips."""
    assert [key for key, kind in KINDS.items() if kind.share == 0 and need_of(kind, Resources()).in_process] == []


def test_several_small_jobs_share_it(queue):
    halves = [queue.submit(job("aside", gpus=0.5)) for _ in range(3)]
    assert [queue.claim(ME).id for _ in range(2)] == [halves[0].id, halves[1].id]
    assert queue.claim(ME) is None
    assert held(queue) == {(halves[0].id, 0): SLICES_PER_DEVICE // 2, (halves[1].id, 0): SLICES_PER_DEVICE // 2}
    queue.put_back(halves[0].id)
    assert queue.claim(ME).id == halves[0].id, "it let go when it went back, and is the first again"


def test_small_jobs_do_not_put_off_a_big_one_for_ever(queue):
    """What a waiting job needs is kept from those behind it; what needs no device passes."""
    running = queue.submit(job("aside", gpus=0.5))
    queue.claim(ME)
    big, small, free = queue.submit(job("aside")), queue.submit(job("aside", gpus=0.25)), queue.submit(job("steps"))
    assert queue.claim(ME).id == free.id
    assert queue.claim(ME) is None
    queue.finish(running.id, "done")
    assert [queue.claim(ME).id] == [big.id] and queue.claim(ME) is None
    queue.finish(big.id, "done")
    assert queue.claim(ME).id == small.id


def test_a_job_waits_for_a_place_in_the_worker_and_lets_others_by(queue):
    first, second = queue.submit(job("small")), queue.submit(job("small"))
    assert queue.claim(ME).id == first.id
    beside = queue.submit(job("aside", gpus=0.5))
    behind = queue.submit(job("aside", gpus=0.5))
    assert queue.claim(ME, Capacity(in_process=False)).id == beside.id
    assert queue.claim(ME, Capacity(in_process=False)) is None, "a quarter is kept for the second small one"
    assert queue.claim(ME, Capacity(in_process=True)).id == second.id
    assert queue.get(behind.id).status == "queued"


def test_a_cluster_s_job_holds_nothing_here(queue):
    need = queue.need_of("aside", {"runner": "slurm", "processes": 8, "gpus": 1.0})
    assert (need.devices, need.parts, need.in_process) == (0, 0, False)


def test_several_devices(queue):
    """Ranks have a device each; the first is for what the worker itself computes, as long as there is another."""
    ranks, one, small = queue.submit(job("aside", processes=2)), queue.submit(job("aside")), queue.submit(job("small"))
    room = Capacity(devices=4)
    assert queue.claim(ME, room).id == small.id, "somebody waits for it"
    assert [queue.claim(ME, room).id for _ in range(2)] == [ranks.id, one.id]
    assert held(queue) == {
        (small.id, 0): 3,
        (ranks.id, 2): SLICES_PER_DEVICE,
        (ranks.id, 3): SLICES_PER_DEVICE,
        (one.id, 1): SLICES_PER_DEVICE,
    }
    assert list(queue.devices_of(ranks.id)) == [2, 3]


def test_more_devices_than_there_are_is_all_of_them(queue):
    asked = queue.submit(job("aside", processes=4))
    assert queue.claim(ME, Capacity(devices=2)).id == asked.id
    assert sum(held(queue).values()) == 2 * SLICES_PER_DEVICE


@pytest.mark.parametrize(
    ("share", "parts"), [(0.25, 3), (1 / 3, 4), (0.5, 6), (0.01, 1), (0.34, 5), (1.0, 12), (2.0, 12)]
)
def test_shares_are_rounded_up_to_parts(queue, share, parts):
    need = queue.need_of("aside", {"gpus": share})
    assert (need.parts, need.devices) == (parts, 2 if share > 1 else 1)


def test_the_table_itself_refuses_a_part_twice(queue, store):
    first, second = queue.submit(job("aside")), queue.submit(job("aside"))
    queue.claim(ME)
    with pytest.raises(Exception, match="failed") as refused, store.database.writing() as connection:
        device_leases.acquire_lease(connection, second.id, ((0, 0),))
    assert isinstance(refused.value.__cause__, IntegrityError)
    assert {job_id for job_id, _ in held(queue)} == {first.id}


def test_every_way_out_lets_go(queue):
    for way in ("done", "failed", "cancelled", "lost", "put back", "orphan"):
        taken = queue.submit(job("aside"))
        queue.claim(replace(ME, started_s=ME.started_s - 60) if way == "orphan" else ME)
        assert sum(held(queue).values()) == SLICES_PER_DEVICE, way
        if way == "put back":
            queue.put_back(taken.id)
            queue.cancel(taken.id)
        elif way == "orphan":
            queue.reconcile()
        else:
            queue.finish(taken.id, way)
        assert held(queue) == {}, way


def test_pages_that_schedule_at_once_never_give_a_part_twice(queue, workspace):
    """Three processes claim, hold and finish jobs of a third of a device; the journal tells how many ran at a time."""
    submitted = [queue.submit(job("aside", gpus=0.33)).id for _ in range(45)]
    program = (
        "import sys, job_kinds; from engine.storage.library import Library; from engine.workspace import Workspace\n"
        "from engine.jobs.queue import JobQueue; from engine.process_identity import ProcessIdentity\n"
        "queue = JobQueue(Library(Workspace.from_env()), job_kinds.KINDS); sys.stdin.read(1)\n"
        "mine = []\n"
        "while queue.list('queued', limit=1):\n"
        "    job = queue.claim(ProcessIdentity.current())\n"
        "    mine += [job.id] if job else []\n"
        "    if mine and (job is None or len(mine) > 1): queue.finish(mine.pop(0), 'done')\n"
        "for left in mine: queue.finish(left, 'done')\n"
    )
    claimers = [subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for claimer in claimers:
        claimer.stdin.write("x")
        claimer.stdin.flush()
    for claimer in claimers:
        claimer.communicate(timeout=120)
    assert [claimer.returncode for claimer in claimers] == [0, 0, 0]
    events = sorted((entry for job_id in submitted for entry in queue.history(job_id)), key=lambda entry: entry.number)
    running, most = 0, 0
    for entry in events:
        running += {"running": 1, "done": -1}.get(entry.event, 0)
        most = max(most, running)
    assert most == 3, "three thirds, never more"
    for job_id in submitted:
        assert [entry.event for entry in queue.history(job_id)] == ["queued", "running", "done"]


def test_a_job_of_another_version_is_taken_so_that_it_can_fail_with_a_sentence(queue, store):
    from sqlalchemy import update

    from engine.storage.schema import JOBS

    odd = queue.submit(job("aside"))
    with store.database.writing() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == odd.id).values(resources={"moons": 3}))
    assert queue.claim(ME).id == odd.id


# ---- Which GPUs there are
@pytest.mark.parametrize(
    ("user", "build", "gpus", "names"),
    [
        ({}, CUDA, 0, ("",)),
        ({}, CUDA, 1, ("",)),
        ({}, CUDA, 4, ("0", "1", "2", "3")),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, CUDA, 4, ("2", "3")),
        ({"CUDA_VISIBLE_DEVICES": ""}, CUDA, 4, ("",)),
        ({"HIP_VISIBLE_DEVICES": "5,1"}, ROCM, 8, ("5", "1")),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, ROCM, 8, ("2", "3")),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ROCM, 8, ("",)),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "6,7"}, ROCM, 8, ("6", "7")),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6"}, ROCM, 8, ("4", "5", "6")),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "CUDA_VISIBLE_DEVICES": "2,0"}, ROCM, 8, ("6", "4")),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "1,2"}, ROCM, 8, ("5", "6")),
        ({"DAILIES_DEVICE": "cuda:1"}, CUDA, 4, ("",)),
        ({}, TorchBuild(version="2.11", hip="", cuda=""), 8, ("",)),
    ],
)
def test_gpus_are_counted_as_processes_see_them(user, build, gpus, names):
    assert visible_names(user, build, gpus) == names


def test_a_process_is_kept_to_the_devices_that_its_job_holds():
    assert visible_devices_env(("",), [0]) == {} and visible_devices_env(("4", "6", "7"), []) == {}
    [(name, value)] = visible_devices_env(("4", "6", "7"), [2, 0]).items()
    assert name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES") and value == "4,7"


def test_what_is_set_aside_is_of_the_roomiest_devices():
    free = {0: [0, 1, 2], 1: list(range(SLICES_PER_DEVICE)), 2: [5]}
    device_leases.reserve(Demand(devices=1, parts=SLICES_PER_DEVICE, in_process=False), free)
    assert free == {0: [0, 1, 2], 1: [], 2: [5]}


def test_shipped_kinds_say_what_they_need(store, tmp_path: Path):
    queue = JobQueue(store)
    whole, small = queue.need_of("train", {}), queue.need_of("generate", {})
    assert (whole.parts, whole.in_process, small.in_process) == (SLICES_PER_DEVICE, False, True)
    assert small.parts + queue.need_of("train", {"gpus": 0.75}).parts <= SLICES_PER_DEVICE, (
        "a clip fits beside three quarters"
    )
    assert queue.need_of("weights", {}).parts == 0, "a download waits for no device"
