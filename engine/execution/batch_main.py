"""`python -m engine.execution.batch_main FOLDER` applies the folder's task to each of its items.

On a cluster, the cluster's actors apply it. `engine.execution.executors.SubprocessExecutor` reads the results.
"""

import logging
import sys
from pathlib import Path

from engine.errors import DailiesError
from engine.execution.batch_folder import BatchFolder
from engine.execution.executors import Completed, Executor, InProcessExecutor, Task
from engine.execution.ray_executors import RayData
from engine.execution.resources import Resources

FAILED = 2
log = logging.getLogger(__name__)


def executor_of(resources: Resources, *, spreads: bool) -> Executor:
    """Return an executor in this process, or one of the cluster's actors when the runner `spreads`."""
    return RayData(resources) if spreads else InProcessExecutor()


def main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    files = BatchFolder(Path(argv[0]))
    facts = files.task()
    executor = executor_of(Resources(**facts.pop("resources")), spreads=facts.pop("spreads"))
    try:
        events = executor.map(Task(**facts), files.items())
        files.append((event.item, event.result) for event in events if isinstance(event, Completed))
    except DailiesError as error:
        log.error("%s", error)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
