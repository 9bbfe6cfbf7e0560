"""Become another program, which the kernel kills as soon as the process that started it is gone.

Run as `python tether.py PARENT_PID PROGRAM ARGUMENT...`. PR_SET_PDEATHSIG (prctl(2)) outlives execve; it is
set here because a `preexec_fn` would run Python between fork and exec of a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent_pid):  # it was gone before the kernel was told
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
