"""Time of a computation on the device, and what the device reaches on a large matrix product."""

import time
from collections.abc import Callable
from typing import Any

LARGE, SMALL = 8192, 1024  # sizes of the matrix product on a GPU and on a CPU


def time_calls(run: Callable[[], Any], *, device: str, repeats: int, warm_up: int = 1) -> list[float]:
    """Return the seconds of each of `repeats` calls after `warm_up` calls; a GPU is waited for."""
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    for _ in range(warm_up):
        run()
    wait()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - began)
    return seconds


def matmul_tflops(device: str, repeats: int) -> list[float]:
    """Return the TFLOP/s of a large matrix product: bfloat16 on a GPU, float32 on a CPU."""
    import torch

    gpu = device.startswith("cuda")
    size = LARGE if gpu else SMALL
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16 if gpu else torch.float32) for _ in range(2))
    seconds = time_calls(lambda: a @ b, device=device, repeats=repeats, warm_up=3)
    return [2 * size**3 / elapsed / 1e12 for elapsed in seconds]
