"""Failed logins: counted by name and address, each for a while."""

import pytest

from app.auth.rate_limit import (
    PAUSE_S,
    REMEMBERED,
    TRIES_OF_ADDRESS,
    TRIES_OF_BOTH,
    TRIES_OF_NAME,
    LoginRateLimiter,
    network_of,
)


class Clock:
    """Seconds as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lockout(clock: Clock) -> LoginRateLimiter:
    return LoginRateLimiter(clock)


def fail(lockout: LoginRateLimiter, times: int, name: str = "anna", address: str = "192.0.2.1") -> list[float]:
    return [lockout.admit(name, address) for _ in range(times)]


def test_the_pause_begins_with_the_first_of_the_failures_and_ends(lockout: LoginRateLimiter, clock: Clock) -> None:
    assert fail(lockout, TRIES_OF_BOTH) == [0.0] * TRIES_OF_BOTH
    clock.now += 100
    assert fail(lockout, 2) == [PAUSE_S - 100] * 2  # asking while locked out makes it no longer
    clock.now += PAUSE_S - 100
    assert fail(lockout, 1) == [0.0]


def test_others_are_not_locked_out(lockout: LoginRateLimiter) -> None:
    fail(lockout, TRIES_OF_BOTH)
    assert fail(lockout, 1, name="bob") == [0.0] and fail(lockout, 1, address="192.0.2.2") == [0.0]


def test_one_address_cannot_try_all_names(lockout: LoginRateLimiter) -> None:
    waits = [wait for number in range(TRIES_OF_ADDRESS + 1) for wait in fail(lockout, 1, name=f"name {number}")]
    assert waits[:-1] == [0.0] * TRIES_OF_ADDRESS and waits[-1] > 0


def test_one_name_cannot_be_tried_from_all_addresses(lockout: LoginRateLimiter) -> None:
    waits = [wait for number in range(TRIES_OF_NAME + 1) for wait in fail(lockout, 1, address=f"198.51.100.{number}")]
    assert waits[:-1] == [0.0] * TRIES_OF_NAME and waits[-1] > 0


def test_success_clears_the_name_but_not_what_the_address_tried_besides(lockout: LoginRateLimiter) -> None:
    for number in range(TRIES_OF_ADDRESS - 1):
        fail(lockout, 1, name=f"name {number}")
    assert fail(lockout, 1) == [0.0]
    lockout.succeeded("anna", "192.0.2.1")
    assert fail(lockout, 2) == [0.0, pytest.approx(PAUSE_S)]


def test_memory_is_bounded(lockout: LoginRateLimiter) -> None:
    for number in range(2 * REMEMBERED):
        fail(lockout, 1, name="n" * 10_000 + str(number), address=f"address {number}")
    assert len(lockout._failures) <= REMEMBERED and all(len(name) <= 200 for name, _ in lockout._failures)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_person_has_an_address_or_a_network(address: str, network: str) -> None:
    assert network_of(address) == network
