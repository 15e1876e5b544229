"""The queue in the header, and the line of a tab that shows its own current job."""

from collections.abc import Collection
from typing import Any

from typing_extensions import TypedDict

from app.components.base import Component
from app.context import AppContext
from app.middleware.idempotency import once
from app.text import jobs, training
from app.views.queue import ENDED_SHOWN, MOST_ENDED, job_log, queue_state
from engine.errors import ConfigError
from engine.jobs.job_rows import jobs_of
from engine.jobs.runs import train_process
from engine.jobs.spec import PRIORITIES
from engine.jobs.worker_control import reconcile_and_ensure_worker


class Place(TypedDict):
    """A job and its new position in the queue."""

    id: str
    to: int


class QueueOrder(TypedDict):
    id: str
    priority: str


class Wanted(TypedDict):
    """The number of ended jobs that the browser shows, and True if it shows alarms."""

    ended: int
    alarms: bool


class JobWatch(Component):
    """The current job of one or several kinds, in one line.

    `value` comes from `app.views.jobs.watched_jobs`. It follows what the header's queue reads. Events: job_ended {ids},
    for finished jobs, and job_failed {ids}, for jobs that failed, were cancelled or lost. Without `line` it only has
    the events. The preview of the running job takes the place of the `ClipPlayer` of this name while it is shown. With
    `campaigns`, it follows the jobs that make clips of campaigns, else the others.
    """

    custom_events = ("job_ended", "job_failed")

    def __init__(
        self,
        name: str,
        kind: str | Collection[str],
        *,
        line: bool = True,
        player: str = "",
        campaigns: bool = False,
        render: bool = True,
    ) -> None:
        kinds = [kind] if isinstance(kind, str) else list(kind)
        more: dict[str, Any] = {"kinds": kinds, "line": line, "player": player, "campaigns": campaigns}
        super().__init__(
            "job_watch", {"active": [], "at": 0}, words=jobs.LINE_WORDS, elem_id=name, render=render, **more
        )


def queue_functions(context: AppContext) -> list[Any]:
    """Return the server functions of the queue; all but the two last return its new state."""

    def read_jobs(wanted: Wanted) -> dict[str, Any]:
        return queue_state(context, wanted["ended"], with_alarms=wanted["alarms"])

    def news(note: str = "") -> dict[str, Any]:
        return queue_state(context, ENDED_SHOWN, note=note)

    def move_job(target: Place) -> dict[str, Any]:
        context.queue.move(target["id"], target["to"])
        return news()

    def prioritise(order: QueueOrder) -> dict[str, Any]:
        if order["priority"] not in PRIORITIES:
            raise ConfigError(f"A priority is one of {', '.join(PRIORITIES)}, but got {order['priority'][:40]!r}.")
        context.queue.prioritise(order["id"], order["priority"])
        return news()

    def cancel_job(job_id: str) -> dict[str, Any]:
        context.queue.cancel(job_id)
        return news()

    def kill_job(job_id: str) -> dict[str, Any]:
        train_process.kill(context.queue, job_id)
        return news()

    def retry_job(job_id: str) -> dict[str, Any]:
        context.submit_again(job_id)
        return news()

    def pause(_: Any = None) -> dict[str, Any]:
        context.queue.pause()
        return news()

    def go_on(_: Any = None) -> dict[str, Any]:
        context.queue.resume()
        reconcile_and_ensure_worker(context.queue)
        return news()

    def cancel_pending(_: Any = None) -> dict[str, Any]:
        return news(training.cancelled(len(context.queue.cancel_waiting())))

    def cancel_others(_: Any = None) -> dict[str, Any]:
        return news(training.cancelled(len(context.queue.cancel_all_but_current())))

    def read_job_log(job_id: str) -> dict[str, Any]:
        return job_log(context, job_id)

    def read_states(ids: list[str]) -> dict[str, str]:
        return {job.id: job.status for job in jobs_of(context.queue.store.database, ids[:MOST_ENDED])}

    changing = (
        move_job,
        prioritise,
        cancel_job,
        kill_job,
        retry_job,
        pause,
        go_on,
        cancel_pending,
        cancel_others,
    )
    return [read_jobs, *(once(function) for function in changing), read_job_log, read_states]
