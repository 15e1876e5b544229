"""MixGRPO's sliding window: only the steps inside it are random and trained, the others follow the ODE.

source      MixGRPO, arXiv:2507.21802v7, Eq. 11 (the window), Eq. 7 (random inside it, ODE outside), Eq. 9 (trained
            inside it alone) and Algorithm 1, whose window stays at the last steps; its code has `--roll_back`

Fewer random steps means fewer that are replayed with gradients, and credit that is easier to assign.
"""


def window_steps(num_steps: int, size: int, iteration: int, *, every: int = 25) -> range:
    """Which of K = `num_steps` steps are random at `iteration`: `size` of them, one further every `every` iterations.

    The window starts at the noisiest steps and returns there once it would reach the last one, which is deterministic
    in every SDE form. Raises ValueError for a window that does not fit.
    """
    last = num_steps - 1
    if not 1 <= size <= last:
        raise ValueError(f"a window of {size} does not fit into steps 0..{last - 1} of {num_steps}: make it smaller")
    start = (iteration // every) % (last - size + 1)
    return range(start, start + size)
