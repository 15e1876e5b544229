"""Progress of downloads on stderr, and questions to a person at the terminal."""

import getpass
import sys
import time
from types import TracebackType
from typing import Self

LINE_WIDTH = 79
REFRESH_S = 0.2


class TransferMeter:
    """A line with percent, rate and remaining time; without a terminal, one line at every tenth."""

    def __init__(self, name: str) -> None:
        self._name, self._live = name, sys.stderr.isatty()
        self._first: tuple[float, int] | None = None
        self._shown_s, self._tenth = 0.0, -1

    def show(self, done_b: int, total_b: int) -> None:
        now_s = time.monotonic()
        self._first = self._first or (now_s, done_b)
        if self._live and (now_s - self._shown_s >= REFRESH_S or done_b == total_b):
            self._shown_s = now_s
            sys.stderr.write("\r" + self.line(done_b, total_b, now_s)[:LINE_WIDTH].ljust(LINE_WIDTH))
            sys.stderr.flush()
        elif not self._live and 10 * done_b // max(total_b, 1) != self._tenth:
            self._tenth = 10 * done_b // max(total_b, 1)
            print(self.line(done_b, total_b, now_s), file=sys.stderr)

    def line(self, done_b: int, total_b: int, now_s: float) -> str:
        """Return e.g. "wan21_1_3b: 40 % of 17.2 GB, 80 MB/s, 2 min left"."""
        text = f"{self._name}: {100 * done_b // max(total_b, 1)} % of {total_b / 1e9:.1f} GB"
        began_s, first_b = self._first or (now_s, done_b)
        rate = (done_b - first_b) / (now_s - began_s) if now_s > began_s else 0.0
        if rate <= 0:
            return text
        left_s = (total_b - done_b) / rate
        left = f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"
        return f"{text}, {rate / 1e6:.1f} MB/s, {left} left"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._first is not None:
            sys.stderr.write("\n")


def is_interactive() -> bool:
    """Return True when a person can answer: stdin and stderr are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask a question on stderr; only "y" or "yes" is True."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask_secret(prompt: str) -> str:
    """Ask for a text that is not shown while it is typed."""
    return getpass.getpass(prompt, stream=sys.stderr).strip()
