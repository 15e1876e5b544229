"""Rate limit of logins: after a number of failures further attempts are refused for a while.

Failures are counted by name and address, by address, and by name. The limit by name is high, so that a few wrong
passwords cannot lock another user out. The counts are kept in memory and are lost on a restart.
"""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

PAUSE_S = 15 * 60.0  # time that a failure counts
TRIES_OF_BOTH, TRIES_OF_ADDRESS, TRIES_OF_NAME = 5, 30, 100
REMEMBERED = 10_000  # names and addresses; the oldest are dropped first
NAME_KEPT = 200  # characters

Key = tuple[str, str]


class LoginRateLimiter:
    """Thread-safe limiter. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures: OrderedDict[Key, deque[float]] = OrderedDict()

    def admit(self, name: str, address: str) -> float:
        """Return the seconds until an attempt is allowed; 0 if it is allowed now.

        An allowed attempt counts as failed until `succeeded` is called, so that parallel attempts cannot exceed the
        limit.
        """
        now, keys = self._clock(), list(_keys(name, address))
        with self._lock:
            wait = max(self._until(key, tries, now) for key, tries in keys) - now
            if wait > 0:
                return wait
            for key, tries in keys:
                self._failures.setdefault(key, deque(maxlen=tries)).append(now)
                self._failures.move_to_end(key)
            while len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)
        return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """Reset the failures of this name from this address; failures under other names still count."""
        (both, _), *others = _keys(name, address)
        with self._lock:
            self._failures.pop(both, None)
            for key, _ in others:
                if moments := self._failures.get(key):
                    moments.pop()

    def _until(self, key: Key, tries: int, now: float) -> float:
        """Return the time at which fewer than `tries` failures lie within the pause."""
        moments = self._failures.get(key)
        return moments[0] + PAUSE_S if moments and len(moments) == tries else now


def _keys(name: str, address: str) -> Iterator[tuple[Key, int]]:
    who, where = name[:NAME_KEPT], network_of(address)
    yield (who, where), TRIES_OF_BOTH
    yield ("", where), TRIES_OF_ADDRESS
    yield (who, ""), TRIES_OF_NAME


def network_of(address: str) -> str:
    """Return an IPv4 address, the /64 network of an IPv6 address, or any other text unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
