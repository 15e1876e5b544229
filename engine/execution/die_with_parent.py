"""`die_with_parent.py PARENT COMMAND...` executes the command, which is killed when its parent dies.

So no process continues without a watcher: not when the supervisor is killed, nor when a node of a cluster ends its
jobs, nor when a launcher starts its ranks in sessions of their own. PARENT is the parent's pid, 0 if unknown.
Linux only; elsewhere the command outlives its parent.
"""

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; the setting survives exec
CANNOT_START = 127  # the exit code of a shell


def die_with_parent_command(parent: int = 0) -> list[str]:
    """Return the prefix of a command: a path, so that it works in any folder.

    Python's -P keeps our modules off the command's import path.
    """
    return [sys.executable, "-P", __file__, str(parent)]


def main(argv: list[str]) -> NoReturn:
    parent, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        sys.exit("The parent process has ended already.")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror or error}.\n")
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main(sys.argv[1:])
