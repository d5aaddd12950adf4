"""Becomes another program, within limits: `python launch.py LIMITS PARENT PROGRAM ARGUMENT...`.

A program of its own, as what runs between fork and exec in a process with threads may wait for a lock for ever. It
imports nothing of the project, so that it starts within milliseconds.
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_START = 127


def main() -> None:
    limits, parent, *argv = sys.argv[1:]
    if sys.platform == "linux":
        # A node that is killed takes its programs with it: another node will run them again.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(CANNOT_START)
    for name, wanted in json.loads(limits).items():
        kind = getattr(resource, name)
        _, most = resource.getrlimit(kind)
        value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(kind, (value, value))
    # Python ignores these, and a program inherits what is ignored.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main()
