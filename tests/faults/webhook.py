"""A loopback server that HTTP jobs call; it writes in the side log what a job of its own would have written."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scheduler_app.management.drill import sidelog


class Webhook:
    """`/hook` answers with the key of the run; `/slow` sends a byte a second, for longer than anybody waits."""

    def __init__(self) -> None:
        webhook = self
        self.side_log = Path("/dev/null")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                key = uuid.uuid4().hex
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                moment = datetime.fromisoformat(self.headers["X-Scheduled-For"])
                webhook.write(
                    "began",
                    key=key,
                    execution=int(self.headers["Idempotency-Key"]),
                    attempt=int(self.headers["X-Attempt"]),
                    fire_time=moment.timestamp(),
                    pids=[],
                )
                webhook.write("returned", key=key, pids=[])
                self.answer(key.encode())

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b".")
                        time.sleep(1.0)
                except OSError:
                    return

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True).start()

    def write(self, step: str, **facts: object) -> None:
        sidelog.write(self.side_log, step, **facts)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
