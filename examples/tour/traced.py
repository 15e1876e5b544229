"""Values with their source, which the report shows for each number and a test verifies.

A source is `file#/key/key/...`: a file of the workspace (JSON, or JSON Lines as a list) or a view of the database, and
the path of keys to the value. The source of a derived value is `rule: source | source`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Traced:
    """A value of a JSON-like tree with its source."""

    value: Any
    source: str

    def __getitem__(self, key: str | int) -> "Traced":
        return Traced(self.value[key], f"{self.source}/{key}")

    def __iter__(self) -> Iterator["Traced"]:
        return (self[index] for index in range(len(self.value)))

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def get(self, key: str) -> "Traced":
        """Return the value of a key; None if the key is absent."""
        return Traced(self.value.get(key), f"{self.source}/{key}")

    def items(self) -> Iterator[tuple[str, "Traced"]]:
        return ((key, self[key]) for key in self.value)

    def values(self) -> Iterator["Traced"]:
        return (self[key] for key in self.value)

    def find(self, **wanted: Any) -> "Traced | None":
        """Return the first item of a list whose keys have these values; None if there is none."""
        return next((one for one in self if all(one.value.get(key) == value for key, value in wanted.items())), None)


def total(parts: Sequence[Traced]) -> Traced:
    return Traced(sum(part.value for part in parts), _derived("sum", parts))


def ratio(above: Traced, below: Traced) -> Traced:
    """Return `above / below`; None if `below` is 0."""
    return Traced(above.value / below.value if below.value else None, _derived("ratio", [above, below]))


def count(of: Traced) -> Traced:
    return Traced(len(of.value), _derived("count", [of]))


def _derived(rule: str, parts: Sequence[Traced]) -> str:
    return f"{rule}: {' | '.join(part.source for part in parts)}"
