"""Leases of a machine's devices by running jobs: one big job, or several small ones.

A device has `SLICES_PER_DEVICE` parts. Each leased part is a row, and the table's key keeps it to one job. A job that
does not fit waits, and jobs behind it may only use parts that it does not need, so that small jobs do not delay a big
one for ever. Rows are inserted and deleted in the transaction that changes the job's state.

The worker's own process uses the first GPU; other processes use the last ones that fit.
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
FIRST_DEVICE = 0

Free = dict[int, list[int]]
"""The free parts by device."""
Held = tuple[tuple[int, int], ...]
"""Pairs of a device and a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Capacity of a worker.

    `devices` is their number. `in_process`: it can take a job in its own process. `monitored`: it can take a job in a
    process that it only monitors. `idle`: it has no job, and may end for a worker with another environment.
    """

    devices: int = 1
    in_process: bool = True
    monitored: bool = True
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Demand of a job: `parts` of each of `devices`; `in_process`: it runs in the worker's own process."""

    devices: int
    parts: int
    in_process: bool


def need_of(kind: JobKind, resources: Resources) -> Demand:
    """Return the demand of a job on this machine; a job on a cluster has none."""
    in_process = resources.is_local and not kind.monitored
    if not resources.is_local or kind.share == 0:
        return Demand(devices=0, parts=0, in_process=in_process)
    share = resources.gpus or kind.share
    parts = math.ceil(min(share, 1) * SLICES_PER_DEVICE - 1e-6)
    return Demand(
        devices=1 if in_process else math.ceil(share) * resources.processes, parts=parts, in_process=in_process
    )


def has_slot(need: Demand, room: Capacity) -> bool:
    return room.in_process if need.in_process else room.monitored


def free_parts(connection: Connection, room: Capacity) -> Free:
    """Return the parts of this machine's devices that no job holds."""
    query = select(LEASES.c.device, LEASES.c.part).where(LEASES.c.host == socket.gethostname())
    held = {(row.device, row.part) for row in connection.execute(query)}
    return {
        device: [part for part in range(SLICES_PER_DEVICE) if (device, part) not in held]
        for device in range(max(1, room.devices))
    }


def fitting(need: Demand, free: Free) -> Held | None:
    """Return parts that satisfy the demand, or None.

    A demand for more devices than exist gets all of them.
    """
    devices = [FIRST_DEVICE] if need.in_process else sorted(free, reverse=True)
    roomy = [device for device in devices if len(free[device]) >= need.parts]
    num_devices = min(need.devices, len(free))
    if len(roomy) < num_devices:
        return None
    return tuple((device, part) for device in roomy[:num_devices] for part in free[device][: need.parts])


def reserve(need: Demand, free: Free) -> None:
    """Remove from `free` the parts for a waiting job, on the devices with the most free parts."""
    devices = [FIRST_DEVICE] if need.in_process else sorted(free, key=lambda device: len(free[device]), reverse=True)
    for device in devices[: need.devices]:
        del free[device][: need.parts]


def acquire_lease(connection: Connection, job_id: str, parts: Held) -> None:
    rows = [{"host": socket.gethostname(), "device": device, "part": part, "job_id": job_id} for device, part in parts]
    if rows:
        connection.execute(LEASES.insert(), rows)


def release_lease(connection: Connection, job_id: str) -> None:
    connection.execute(delete(LEASES).where(LEASES.c.job_id == job_id))


def devices_of(connection: Connection, job_id: str) -> Sequence[int]:
    """Return the devices of which a job holds parts."""
    query = select(LEASES.c.device).where(LEASES.c.job_id == job_id).distinct().order_by(LEASES.c.device)
    return connection.scalars(query).all()


def holder(connection: Connection, need: Demand) -> str | None:
    """Return the job with most parts of this machine's first device if the demand does not fit, else None."""
    held = func.count().label("held")
    query = select(LEASES.c.job_id, held).where(LEASES.c.host == socket.gethostname(), LEASES.c.device == FIRST_DEVICE)
    rows = connection.execute(query.group_by(LEASES.c.job_id).order_by(held.desc())).all()
    fits = sum(row.held for row in rows) + need.parts <= SLICES_PER_DEVICE
    return None if fits or not rows else str(rows[0].job_id)


def lock_leases(connection: Connection) -> None:
    """Prevent other leases until this transaction ends. SQLite has only one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE leases IN EXCLUSIVE MODE"))
