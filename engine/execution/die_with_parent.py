"""`tether.py PARENT COMMAND...` becomes the command, which is killed when its parent dies.

So nothing goes on computing that nobody watches: not when the attendant is killed, nor when a node of a cluster takes
its jobs down, nor where a launcher puts its ranks into sessions of their own. PARENT is the parent's pid, 0 if unknown.
Linux only; elsewhere the command runs untethered.
"""

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; it is kept when another program is executed
CANNOT_START = 127  # as a shell says it


def die_with_parent_command(parent: int = 0) -> list[str]:
    """What to put before a command. By path, so that it starts in any folder; -P keeps our modules out of its way."""
    return [sys.executable, "-P", __file__, str(parent)]


def main(argv: list[str]) -> NoReturn:
    parent, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        sys.exit("The process that this one was to be watched by is gone.")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror or error}.\n")
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main(sys.argv[1:])
