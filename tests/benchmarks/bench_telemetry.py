"""What telemetry costs while somebody looks: processor time of the sampler and of the tools that it starts, at the pace
of its thread. Bar: 1 % of a core."""

import resource
import sys
import time

from measurement import report

from engine.hardware.telemetry.monitor import VIEWED_S, Telemetry

BAR = 0.01
SAMPLES = 20


def processor_s() -> float:
    """Seconds of processor time of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> int:
    telemetry = Telemetry()
    source = telemetry.snapshot().source  # what is found once is not counted
    began, before = time.monotonic(), processor_s()
    for _ in range(SAMPLES):
        telemetry.snapshot()
    spent = processor_s() - before
    share = spent / (SAMPLES * VIEWED_S)
    wall = round((time.monotonic() - began) / SAMPLES, 4)
    return int(not report("telemetry_share_of_a_core", share, "", bar=BAR, source=source, seconds_a_sample=wall))


if __name__ == "__main__":
    sys.exit(main())
