"""Run attempts in child processes: forked warm, spoken to in JSON, and killed for real.

A template process, started when the first child is wanted, has Django set up and the tasks imported, and forks a
child for each attempt. A child gets one end of a socket, for a line of JSON with what to do and one with what came
of it, and one end of a pipe, for what it prints. The template knows when a child ends, however it does, and then
kills what is left of its process group; only the template signals a child, as only it knows that a number still
belongs to one. When the node dies, however it does, its ends close, and template and children end too.
"""

from __future__ import annotations

import codecs
import itertools
import json
import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from scheduler_app.conf import SchedulerConfig
from scheduler_app.rules.spec import JobSpec
from scheduler_app.targets.base import CurrentExecution, TargetFailed
from scheduler_app.targets.secrets import resolve

from .capture import AttemptLog
from .gauges import Gauges
from .performing import Ending
from .trouble import Trouble

logger = logging.getLogger(__name__)

START_S = 60.0
"""How long the template may take to import the project."""
SEND_S = 10.0
LAST_OUTPUT_S = 1.0
EXIT_S = 5.0
"""How long a child may take to end after it has said what came of it."""
CHECK_S = 0.2
READ_BYTES = 64 * 1024
MESSAGE_BYTES = 4 * 1024 * 1024
START_TEMPLATE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from scheduler_app.engine.template import main; main(int(sys.argv[2]))"
)


class NoChild(Exception):
    """There is no process to run in; the attempt has not begun."""


class Children:
    """The template and what it forked. Its thread hears what became of them."""

    def __init__(self, config: SchedulerConfig, gauges: Gauges) -> None:
        self._config = config
        self._gauges = gauges
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._template: _Template | None = None
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether this platform can fork processes and hand them files."""
        return hasattr(os, "fork") and hasattr(socket, "send_fds")

    def child(self) -> Child:
        """A child to be; the process comes with its `run`."""
        return Child(self, next(self._numbers))

    def limits(self, spec: JobSpec) -> tuple[int, int]:
        """MiB of memory and seconds of CPU that a child for this job may take; 0 for any."""
        return (
            spec.memory_limit_mb or self._config.memory_limit_mb,
            spec.cpu_limit_s or self._config.cpu_limit_s,
        )

    @property
    def process_limit(self) -> int:
        """How many processes a child may become; 0 for any number."""
        return self._config.process_limit

    def launch(self, child: Child, messages: socket.socket, output: int) -> _Template:
        """Have the child forked with these; raises NoChild."""
        template = self.prepare()
        try:
            template.fork(child, messages, output)
        except OSError as error:
            self.failed(str(error))
            raise NoChild(str(error)) from error
        self._gauges.troubled("children", None)
        return template

    def prepare(self) -> _Template:
        """Wait until there is something to fork from: the first time, until the project is imported. Raises NoChild."""
        try:
            template = self._running_template()
            template.wait_ready()
        except NoChild as error:
            self.failed(str(error))
            raise
        return template

    def _running_template(self) -> _Template:
        if not self.available:
            raise NoChild("this platform cannot fork processes")
        with self._lock:
            if self._closed:
                raise NoChild("the node ends")
            if self._template is None or self._template.is_lost:
                try:
                    self._template = _Template(self.process_limit)
                except OSError as error:
                    raise NoChild(str(error)) from error
            return self._template

    def failed(self, why: str) -> None:
        """Let the node's row say that executions cannot have a process."""
        sentence = f"No child process can be started: {why}"
        logger.error("%s", sentence)
        self._gauges.troubled("children", Trouble("no_child_process", sentence))

    def close(self) -> None:
        """End the template, which kills what still runs."""
        with self._lock:
            self._closed = True
            template, self._template = self._template, None
        if template is not None:
            template.close()


class Child:
    """One attempt in a process of its own, watched over by the thread that calls `run`."""

    def __init__(self, children: Children, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.over = threading.Event()
        """It has ended, or never began."""
        self._children = children
        self._template: _Template | None = None
        self._messages: socket.socket | None = None
        self._signalled: set[int] = set()
        self._exit_code: int | None = None
        self._processes = 0
        self._failure = ""

    def prepare(self) -> None:
        """Wait until there is something to fork it from; raises NoChild."""
        self._children.prepare()

    def run(self, execution: CurrentExecution, spec: JobSpec, log: AttemptLog) -> Ending:
        """Run the execution's target in the child, to its end; raises NoChild when there is none to be had."""
        memory_mb, cpu_s = self._children.limits(spec)
        request = {
            "execution": execution.to_message(),
            "kind": spec.kind,
            "memory_limit_mb": memory_mb,
            "cpu_limit_s": cpu_s,
        }
        with suppress(TargetFailed):  # a secret is missing, as the child will find and say
            # Known here, secrets are hidden in the log; the child looks them up itself.
            resolve(execution.arguments)
        ours, theirs = socket.socketpair()
        output, output_theirs = os.pipe()
        try:
            try:
                self._template = self._children.launch(self, theirs, output_theirs)
            finally:
                theirs.close()
                os.close(output_theirs)
            self._messages = ours
            ours.settimeout(SEND_S)
            with suppress(OSError):  # it has ended already; how, is told below
                ours.sendall(json.dumps(request).encode() + b"\n")
            execution.on_stop(self._ask_to_stop)
            said = self._watch(ours, output, log)
        finally:
            self._messages = None
            ours.close()
            os.close(output)
        if self._failure:
            self._children.failed(self._failure)
            raise NoChild(self._failure)
        return Ending.from_message(said) if said is not None else self._crash(cpu_s)

    def kill(self, number: int) -> None:
        """Send its process group a signal, each number once."""
        if self._template is not None and number not in self._signalled:
            self._signalled.add(number)
            self._template.signal(self, number)

    def outgrown(self, processes: int) -> None:
        """Called from the template's thread: it was killed, for being so many processes."""
        self._processes = processes

    def ended(self, exit_code: int | None, failure: str = "") -> None:
        """Called from the template's thread: it is over. No exit code: it was lost with the template."""
        self._exit_code, self._failure = exit_code, failure
        self.over.set()

    def _ask_to_stop(self) -> None:
        messages = self._messages
        if messages is not None:
            with suppress(OSError):
                messages.send(b"stop\n")

    def _watch(
        self, messages: socket.socket, output: int, log: AttemptLog
    ) -> dict[str, Any] | None:
        """Take in what it prints and says until it is over; what came of it, if it said so."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        said = bytearray()
        kill_at = math.inf
        read_until = math.inf
        with selectors.DefaultSelector() as selector:
            for source in (messages, output):
                selector.register(source, selectors.EVENT_READ)
            while True:
                # Asked before reading: what it wrote before its end is there to be read.
                is_over = self.over.is_set()
                if is_over:
                    # A daemon that left the process group may hold the pipe open, and write.
                    read_until = min(read_until, time.monotonic() + LAST_OUTPUT_S)
                if not selector.get_map():
                    self.over.wait(CHECK_S)
                ready = selector.select(0 if is_over else CHECK_S) if selector.get_map() else []
                for key, _ in ready:
                    data = _read(key.fd)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fd == output:
                        log.write(decode(data))
                    else:
                        said += data
                if is_over and (not ready or time.monotonic() > read_until):
                    break
                if len(said) > MESSAGE_BYTES:
                    del said[MESSAGE_BYTES:]
                    kill_at = 0
                elif said.endswith(b"\n"):
                    kill_at = min(kill_at, time.monotonic() + EXIT_S)
                if time.monotonic() > kill_at:
                    self.kill(signal.SIGKILL)
        log.write(decode(b"", final=True))
        return _message(bytes(said))

    def _crash(self, cpu_s: int) -> Ending:
        """It ended without a word."""
        code = self._exit_code
        if self._processes:
            limit = self._children.process_limit
            return Ending(
                raised=True,
                reason="too_many_processes",
                error=f"The child process and what it started were {self._processes} processes; at most {limit} are allowed.",
            )
        if code == -getattr(signal, "SIGXCPU", 0):
            return Ending(
                raised=True,
                reason="cpu_limit",
                error=f"The child process used more than {cpu_s} s of CPU.",
            )
        if code is None:
            error = "The child process was lost together with the one that it was forked from."
        elif code < 0:
            error = f"The child process was killed by signal {-code} ({_signal_name(-code)})"
            if -code == signal.SIGKILL and signal.SIGKILL not in self._signalled:
                error += ", perhaps because the machine had no memory left"
            error += "."
        else:
            error = f"The child process ended with exit code {code} before the task did."
        return Ending(raised=True, crashed=True, reason="crashed", error=error)


class _Template:
    """The process that forks; a thread hears what it says."""

    def __init__(self, process_limit: int) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        """A lock of its own: who sends may wait until the template reads, and it reads once its answers are heard."""
        self._children: dict[int, Child] = {}
        self._ready = threading.Event()
        self.is_lost = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START_TEMPLATE, json.dumps(sys.path), str(process_limit)],
                stdin=theirs.fileno(),
                # Ctrl-C is for the node, which lets its executions finish.
                start_new_session=True,
            )
        except OSError:
            self._control.close()
            raise
        finally:
            theirs.close()
        self._control.settimeout(None)
        threading.Thread(target=self._hear, name="template", daemon=True).start()

    def wait_ready(self) -> None:
        if not self._ready.wait(START_S):
            # It hangs in an import, say; the next attempt has another one started.
            self._process.kill()
        if not self._ready.is_set() or self.is_lost:
            raise NoChild("the process to fork from did not start; the node's log says why")

    def fork(self, child: Child, messages: socket.socket, output: int) -> None:
        with self._lock:
            self._children[child.number] = child
        with self._sending:
            socket.send_fds(
                self._control, [_line({"fork": child.number})], [messages.fileno(), output]
            )

    def signal(self, child: Child, number: int) -> None:
        with suppress(OSError), self._sending:
            self._control.sendall(_line({"signal": number, "child": child.number}))

    def close(self) -> None:
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hear(self) -> None:
        try:
            with self._control.makefile("rb") as lines:
                for line in lines:
                    self._told(json.loads(line))
        except (OSError, ValueError):
            logger.exception(
                "what the process that children are forked from says is not understood"
            )
        with self._lock:
            self.is_lost = True
            left = list(self._children.values())
            self._children.clear()
        self._ready.set()
        self._process.kill()
        self._process.wait()
        for child in left:
            if child.pid is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.ended(None)
        with self._sending:
            self._control.close()

    def _told(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready.set()
            return
        number = message["child"]
        with self._lock:
            child = self._children[number]
            if "pid" in message:
                child.pid = message["pid"]
                return
            if "processes" in message:
                child.outgrown(message["processes"])
                return
            del self._children[number]
        child.ended(message.get("exit_code"), message.get("failure", ""))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, READ_BYTES)
    except OSError:
        # Reset: it ended with something unread.
        return b""


def _message(said: bytes) -> dict[str, Any] | None:
    line, newline, _ = said.partition(b"\n")
    if not newline:
        return None
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
