"""Numbers that know where they are from: every figure in the report says so, and a test looks there.

A source is `file#/key/key/...`: a file of the workspace (JSON, or JSON Lines as a list) or a view of the database, and
the way to the number in it. What is worked out from others is `rule: source | source`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Traced:
    """A value of a JSON-like tree, and where it stands."""

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
        """The value under the key; None where there is none."""
        return Traced(self.value.get(key), f"{self.source}/{key}")

    def items(self) -> Iterator[tuple[str, "Traced"]]:
        return ((key, self[key]) for key in self.value)

    def values(self) -> Iterator["Traced"]:
        return (self[key] for key in self.value)

    def find(self, **wanted: Any) -> "Traced | None":
        """The first of a list whose keys have these values."""
        return next((one for one in self if all(one.value.get(key) == value for key, value in wanted.items())), None)


def total(parts: Sequence[Traced]) -> Traced:
    return Traced(sum(part.value for part in parts), _derived("sum", parts))


def ratio(above: Traced, below: Traced) -> Traced:
    """None where there is nothing to divide by."""
    return Traced(above.value / below.value if below.value else None, _derived("ratio", [above, below]))


def count(of: Traced) -> Traced:
    return Traced(len(of.value), _derived("count", [of]))


def _derived(rule: str, parts: Sequence[Traced]) -> str:
    return f"{rule}: {' | '.join(part.source for part in parts)}"
