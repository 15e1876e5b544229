"""Texts of the notifications and of their switch in the header."""

BELL = {
    "off": "Enable notifications for finished jobs and alarms",
    "on": "Notifications are on: finished jobs and alarms are reported while this page is in the background",
    "title": "Notifications are blocked by the browser; the count is shown in the tab title instead",
}
ENDS = {"done": "finished", "failed": "failed", "lost": "was lost"}


def ended(what: str, status: str) -> str:
    return f"{what} {ENDS[status]}"


def alarmed(run: str, step: int) -> str:
    return f"Alarm in run {run} at step {step}"


def more(count: int) -> str:
    return f"And {count} more"
