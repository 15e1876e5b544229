"""Batches of clips of one size, from data of several sizes."""

import itertools
from collections.abc import Hashable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from engine.seeds import generator_for, seed_for


class OneSizeSampler(Sampler[int]):
    """Row numbers of an epoch, of which every `unit` ones from a multiple of `unit` on have one size.

    The order depends on `seed` and epoch alone, so a resumed run continues with it. Rows of a size come again where
    their number is no multiple of `unit`.
    """

    def __init__(self, sizes: Sequence[Hashable], unit: int, seed: int) -> None:
        self._rows: dict[Hashable, list[int]] = {}
        for row, size in enumerate(sizes):
            self._rows.setdefault(size, []).append(row)
        self._unit, self._seed, self._epoch = unit if len(self._rows) > 1 else 1, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(self._filled(rows) for rows in self._rows.values())

    def __iter__(self) -> Iterator[int]:
        drawn = generator_for(seed_for(self._seed, step=self._epoch, prompt="sizes"))
        units: list[list[int]] = []
        for rows in self._rows.values():
            order = torch.randperm(len(rows), generator=drawn).tolist()
            filled = [rows[order[at % len(rows)]] for at in range(self._filled(rows))]
            units += [filled[start : start + self._unit] for start in range(0, len(filled), self._unit)]
        for number in torch.randperm(len(units), generator=drawn).tolist():
            yield from units[number]

    def endless(self, start: int) -> Iterator[int]:
        """Yield the rows of all epochs in order, from a place on."""
        epoch, at = divmod(start, len(self))
        for self._epoch in itertools.count(epoch):
            yield from itertools.islice(self, at, None)
            at = 0

    def _filled(self, rows: Sequence[int]) -> int:
        return -(-len(rows) // self._unit) * self._unit
