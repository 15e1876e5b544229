"""What running jobs hold of a machine's devices: one big job, or several small ones.

A device has `SLICES_PER_DEVICE` parts, and each part is a row: held by one job or by none, which the table's key sees
to whatever the code does. A job that does not fit waits, and what waits behind it may only use what it does not need,
so that a big job is not put off for ever by small ones. Rows come and go in the transaction that changes the job's
state.

Where a GPU is to be chosen, the worker's own process has the first one; processes of their own take the last that fit.
"""

import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, text

from engine.execution.resources import Resources
from engine.jobs.kinds import JobKind
from engine.storage.schema import LEASES

SLICES_PER_DEVICE = 12  # halves, thirds and quarters come out even
FIRST = 0

Free = dict[int, list[int]]
"""The free parts by device."""
Held = tuple[tuple[int, int], ...]
"""Pairs of a device and a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a worker can take on: so many devices; a job `inside` its own process, one that it watches `aside`. `idle`:
    it has no job, and may end for a worker with another environment."""

    devices: int = 1
    inside: bool = True
    aside: bool = True
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`parts` of each of `devices`; `inside`: a place in the worker's own process."""

    devices: int
    parts: int
    inside: bool


def need_of(kind: JobKind, resources: Resources) -> Demand:
    """What a job holds on this machine: of what a cluster does, nothing."""
    inside = resources.is_local and not kind.aside
    if not resources.is_local or kind.share == 0:
        return Demand(devices=0, parts=0, inside=inside)
    share = resources.gpus or kind.share
    parts = math.ceil(min(share, 1) * SLICES_PER_DEVICE - 1e-6)
    return Demand(devices=1 if inside else math.ceil(share) * resources.processes, parts=parts, inside=inside)


def has_lane(need: Demand, room: Capacity) -> bool:
    return room.inside if need.inside else room.aside


def free_parts(connection: Connection, room: Capacity) -> Free:
    """What nobody holds of this machine's devices."""
    query = select(LEASES.c.device, LEASES.c.part).where(LEASES.c.host == socket.gethostname())
    held = {(row.device, row.part) for row in connection.execute(query)}
    return {
        device: [part for part in range(SLICES_PER_DEVICE) if (device, part) not in held]
        for device in range(max(1, room.devices))
    }


def fitting(need: Demand, free: Free) -> Held | None:
    """The parts that a job may have; None when it has to wait. One that wants more devices than there are gets all."""
    devices = [FIRST] if need.inside else sorted(free, reverse=True)
    roomy = [device for device in devices if len(free[device]) >= need.parts]
    wanted = min(need.devices, len(free))
    if len(roomy) < wanted:
        return None
    return tuple((device, part) for device in roomy[:wanted] for part in free[device][: need.parts])


def reserve(need: Demand, free: Free) -> None:
    """Keep from others what a waiting job will need: of the devices that have the most room."""
    devices = [FIRST] if need.inside else sorted(free, key=lambda device: len(free[device]), reverse=True)
    for device in devices[: need.devices]:
        del free[device][: need.parts]


def acquire_lease(connection: Connection, job_id: str, parts: Held) -> None:
    rows = [{"host": socket.gethostname(), "device": device, "part": part, "job_id": job_id} for device, part in parts]
    if rows:
        connection.execute(LEASES.insert(), rows)


def release_lease(connection: Connection, job_id: str) -> None:
    connection.execute(delete(LEASES).where(LEASES.c.job_id == job_id))


def devices_of(connection: Connection, job_id: str) -> Sequence[int]:
    """The devices that a job holds parts of."""
    query = select(LEASES.c.device).where(LEASES.c.job_id == job_id).distinct().order_by(LEASES.c.device)
    return connection.scalars(query).all()


def holder(connection: Connection, need: Demand) -> str | None:
    """Who holds most of the first device of this machine, when a job that needs it does not fit; else None."""
    held = func.count().label("held")
    query = select(LEASES.c.job_id, held).where(LEASES.c.host == socket.gethostname(), LEASES.c.device == FIRST)
    rows = connection.execute(query.group_by(LEASES.c.job_id).order_by(held.desc())).all()
    fits = sum(row.held for row in rows) + need.parts <= SLICES_PER_DEVICE
    return None if fits or not rows else str(rows[0].job_id)


def lock_leases(connection: Connection) -> None:
    """Until this transaction ends nobody else gives out parts. SQLite has but one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE leases IN EXCLUSIVE MODE"))
