"""What child processes are forked from: Django set up, the tasks imported, and nothing else going on.

It has no thread and no connection, so that a fork copies nothing that is in use. The node started it and speaks to
it over its standard input, which is a socket; see `children`.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress
from typing import Any, NoReturn

import django
from django.db import connections

from scheduler_app.targets.base import CurrentExecution
from scheduler_app.targets.task import registry

from . import capture
from .performing import Ending, perform, raised

CONTROL_BYTES = 64 * 1024
FDS_AT_ONCE = 64
KILL_S = 5
"""Of CPU, after those that a child may take, until it is killed although it ignores that they are used up."""
OPEN_FILES = 1024
"""What most systems give a process; a node may have been given many more."""
COUNT_EVERY_S = 0.5
"""How often the processes of all children are counted."""
OOM_SCORE = "500"
"""When memory is short the kernel takes a child before it takes the node."""


def main(process_limit: int) -> NoReturn:
    """Be the template, until the node's end of the socket closes; a child may become so many processes, 0: any number."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    # Handlers of the project's logging keep what is stderr now: the node's. A child's is a pipe.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    # A supervisor may signal all processes of the node at once; the node lets executions finish.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    django.setup()
    registry.names()
    connections.close_all()
    gc.collect()
    gc.freeze()
    Template(control, process_limit).run()


class Template:
    """Forks when told, tells when one has ended."""

    def __init__(self, control: socket.socket, process_limit: int) -> None:
        self._control = control
        self._pids: dict[int, int] = {}
        self._process_limit = process_limit
        self._count_at = 0.0
        self._text = b""
        self._fds: list[int] = []
        self._woken, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()

    def run(self) -> NoReturn:
        """Work until the node is gone."""
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for source in (self._control, self._woken):
            self._selector.register(source, selectors.EVENT_READ)
        try:
            self._say({"ready": True})
            while True:
                timeout_s = COUNT_EVERY_S if self._pids and self._process_limit else None
                for key, _ in self._selector.select(timeout_s):
                    if key.fileobj is self._woken:
                        self._woken.recv(CONTROL_BYTES)
                    elif not self._hear():
                        self._end()
                self._reap()
                if time.monotonic() >= self._count_at:
                    self._count()
        except OSError:
            # The node is gone in the middle of a word.
            self._end()

    def _end(self) -> NoReturn:
        for pid in self._pids:
            _kill_group(pid, signal.SIGKILL)
        os._exit(0)

    def _hear(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, CONTROL_BYTES, FDS_AT_ONCE)
        self._fds += fds
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "fork" in message:
                self._fork(message["fork"], *(self._fds.pop(0) for _ in range(2)))
            elif (pid := self._pid_of(message["child"])) is not None:
                _kill_group(pid, message["signal"])
        return bool(data)

    def _fork(self, number: int, messages: int, output: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._say({"child": number, "failure": f"{error.strerror} (fork)"})
        else:
            if pid == 0:
                self._selector.close()
                signal.set_wakeup_fd(-1)
                for end in (self._control, self._woken, self._wake):
                    end.close()
                for fd in self._fds:
                    os.close(fd)
                run_child(socket.socket(fileno=messages), output)
            self._pids[pid] = number
            self._say({"child": number, "pid": pid})
        os.close(messages)
        os.close(output)

    def _reap(self) -> None:
        for pid in list(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                # What it left behind in its group ends with it.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(status)
                self._say({"child": self._pids.pop(pid), "exit_code": code})

    def _count(self) -> None:
        """Kill children that have become too many processes.

        By their groups: the kernel signals all of a group at once, so that none is forked meanwhile that escapes.
        RLIMIT_NPROC would count all processes of the user, the node's among them, and not hold for root.
        """
        self._count_at = time.monotonic() + COUNT_EVERY_S
        if not self._pids or not self._process_limit:
            return
        sizes = _sizes_of_groups()
        for pid, number in self._pids.items():
            if sizes[pid] > self._process_limit:
                _kill_group(pid, signal.SIGKILL)
                self._say({"child": number, "processes": sizes[pid]})

    def _pid_of(self, number: int) -> int | None:
        return next((pid for pid, known in self._pids.items() if known == number), None)

    def _say(self, message: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(message).encode() + b"\n")


def run_child(messages: socket.socket, output: int) -> NoReturn:
    """Be the child: take the request, run it, say what came of it, end."""
    try:
        pid = os.getpid()
        os.setsid()
        _take_output(output)
        request, rest = _read_line(messages)
        execution = CurrentExecution.from_message(request["execution"])
        if rest:
            execution.stop()
        _obey_signals(execution)
        threading.Thread(target=_watch_node, args=(messages, execution), daemon=True).start()
        _prefer_to_be_killed()
        _limit(request["memory_limit_mb"], request["cpu_limit_s"])
        ending = _perform(execution, request["kind"])
        if os.getpid() == pid:  # and not a copy that the task forked
            _say_ending(messages, ending)
    except BaseException:  # noqa: BLE001 - whatever it is, the copy of the template must not go on
        with suppress(Exception):
            traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _read_line(messages: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The request, and what came after it."""
    data = bytearray()
    while b"\n" not in data:
        part = messages.recv(CONTROL_BYTES)
        if not part:
            os._exit(0)  # the node is gone
        data += part
    line, _, rest = bytes(data).partition(b"\n")
    request: dict[str, Any] = json.loads(line)
    return request, rest


def _perform(execution: CurrentExecution, kind: str) -> Ending:
    try:
        return perform(execution, kind)
    except BaseException as error:  # noqa: BLE001 - no memory left to describe what went wrong
        _lift_memory_limit()
        return raised(error, with_traceback=False)


def _say_ending(messages: socket.socket, ending: Ending) -> None:
    _lift_memory_limit()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the task may have closed or replaced it
            stream.flush()
    messages.sendall(json.dumps(ending.to_message()).encode() + b"\n")


def _take_output(output: int) -> None:
    """Let what is printed, logged, or written by other programs go to the attempt's log, as it comes."""
    for fd in (1, 2):
        os.dup2(output, fd)
    os.close(output)
    sys.stdout, sys.stderr = (
        os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        for fd in (1, 2)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(capture.FORMATTER)
    logging.getLogger().addHandler(handler)
    # A crash of the interpreter leaves its traceback.
    faulthandler.enable(2)


def _obey_signals(execution: CurrentExecution) -> None:
    """SIGTERM ends the child after it was asked to stop; before, it was meant for the node."""

    def terminate(number: int, _: object) -> None:
        if execution.should_stop():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, terminate)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _watch_node(messages: socket.socket, execution: CurrentExecution) -> None:
    """In a thread: pass on that it must stop; without the node, end with all that was started from here."""
    with suppress(OSError):
        while messages.recv(CONTROL_BYTES):
            execution.stop()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _prefer_to_be_killed() -> None:
    # There is no such file outside of Linux, and a container may forbid to write it.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(OOM_SCORE)


def _limit(memory_mb: int, cpu_s: int) -> None:
    """Bound what this process takes from here on; 0: not at all."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_at_most(OPEN_FILES, soft), hard))
    if memory_mb:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = _address_space() + memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (_at_most(wanted, hard), hard))
    if cpu_s:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft, last = _at_most(cpu_s, hard), _at_most(cpu_s + KILL_S, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, last))


def _lift_memory_limit() -> None:
    """The task is over; that it ran out of memory can be told."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _at_most(wanted: int, hard: int) -> int:
    return wanted if hard < 0 else min(wanted, hard)


def _address_space() -> int:
    """The bytes that Python and the project take already."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _sizes_of_groups() -> Counter[int]:
    """How many processes are in each process group; nothing where there is no /proc."""
    sizes: Counter[int] = Counter()
    with suppress(OSError):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError):  # it has ended
                sizes[os.getpgid(int(name))] += 1
    return sizes


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # It has not made itself a group yet, or nothing of it is left.
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    except PermissionError:
        # macOS says so of a group of zombies.
        pass
