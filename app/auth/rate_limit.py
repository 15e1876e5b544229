"""Logins that failed: after a few of them there are no more tries for a while, so that no password can be guessed.

What is counted: failures of one name from one address, of one address under any names, of one name from any addresses;
the last of these is allowed so many that nobody can keep somebody else out by typing nonsense a few times. Kept in
memory only: a server that starts anew has forgotten them.
"""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

PAUSE_S = 15 * 60.0  # a failure counts for so long
TRIES_OF_BOTH, TRIES_OF_ADDRESS, TRIES_OF_NAME = 5, 30, 100
REMEMBERED = 10_000  # names and addresses; the oldest are forgotten first
NAME_KEPT = 200  # characters

Key = tuple[str, str]


class LoginRateLimiter:
    """Safe in many threads. `clock` tells seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures: OrderedDict[Key, deque[float]] = OrderedDict()

    def admit(self, name: str, address: str) -> float:
        """Seconds until a try is allowed; 0 for one that is allowed now. It counts as failed until `succeeded` is
        called: many that are sent at once are not all let through before the first of them has failed."""
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
        """The last try was right, and whoever knows the password mistyped it before. What the address tried under other
        names still counts."""
        (both, _), *others = _keys(name, address)
        with self._lock:
            self._failures.pop(both, None)
            for key, _ in others:
                if moments := self._failures.get(key):
                    moments.pop()

    def _until(self, key: Key, tries: int, now: float) -> float:
        """When so many failures are no longer all within the pause."""
        moments = self._failures.get(key)
        return moments[0] + PAUSE_S if moments and len(moments) == tries else now


def _keys(name: str, address: str) -> Iterator[tuple[Key, int]]:
    who, where = name[:NAME_KEPT], network_of(address)
    yield (who, where), TRIES_OF_BOTH
    yield ("", where), TRIES_OF_ADDRESS
    yield (who, ""), TRIES_OF_NAME


def network_of(address: str) -> str:
    """What one person has: an IPv4 address, or an IPv6 network of 64 bits. What is neither stands for itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
