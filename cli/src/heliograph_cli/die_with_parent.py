"""Runs another program that the kernel kills as soon as the process that started it is gone.

Run as `python die_with_parent.py PARENT_PID PROGRAM ARGUMENT...`. It asks for SIGKILL when its parent dies
(PR_SET_PDEATHSIG of prctl(2), which survives execve), then executes the program. A `preexec_fn` could do that
too, but it would run Python between fork and exec of a process that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent_pid):  # the parent died before the call of prctl
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
