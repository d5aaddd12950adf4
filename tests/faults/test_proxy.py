"""The proxy breaks what it says it breaks, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from scheduler_app.management.drill.proxy import COMMIT_DONE, Proxy

DEADLINE_S = 30.0


class Echo:
    """Sends back what it gets; `COMMIT` it answers as PostgreSQL does."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.received: list[bytes] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionResetError):
            while data := connection.recv(4096):
                self.received.append(data)
                connection.sendall(COMMIT_DONE if data == b"COMMIT" else data)

    def close(self) -> None:
        # A close alone would leave it open for the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    with suppress(OSError):
        echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    proxy = Proxy(echo.address)
    yield proxy
    proxy.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE_S)


def ask(connection: socket.socket, text: bytes = b"hello") -> bytes:
    connection.sendall(text)
    return connection.recv(4096)


def test_it_passes_on_both_ways(proxy):
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"
    assert proxy.opened == 1


def test_what_is_sent_into_a_stall_arrives_when_it_ends(proxy):
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"
        proxy.stall()
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(connection, b"later")

        proxy.flow()

        connection.settimeout(DEADLINE_S)
        assert connection.recv(4096) == b"later"


def test_a_cut_resets_what_is_open_and_lets_new_ones_in(proxy):
    with connect(proxy) as connection:
        ask(connection)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"


def test_refusing_is_until_it_accepts_again_at_the_same_port(proxy):
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)

    proxy.accept()

    assert proxy.port == port
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"


def test_a_delay_is_added_each_way(proxy):
    with connect(proxy) as connection:
        ask(connection)
        proxy.delay(0.2)
        began = time.monotonic()
        ask(connection)
        assert time.monotonic() - began >= 0.4


def test_the_answer_of_a_commit_is_swallowed_and_the_commit_is_not(proxy, echo):
    proxy.lose_commits(1)
    with connect(proxy) as connection:
        assert ask(connection, b"SELECT") == b"SELECT"
        with pytest.raises(ConnectionResetError):
            ask(connection, b"COMMIT")
    assert (proxy.lost_commits, echo.received[-1]) == (1, b"COMMIT")
    with connect(proxy) as connection:
        assert ask(connection, b"COMMIT") == COMMIT_DONE


def test_only_the_role_that_was_named_is_deaf(proxy):
    proxy.deafen("scheduler listener")
    with connect(proxy) as deaf, connect(proxy) as other:
        assert ask(other, b"application_name\x00scheduler recorder\x00")
        deaf.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(deaf, b"application_name\x00scheduler listener\x00")


def test_a_server_that_is_away_closes_the_connection(echo, proxy):
    echo.close()
    with connect(proxy) as connection:
        assert connection.recv(1) == b""


@pytest.mark.django_db(transaction=True)
def test_postgresql_commits_what_its_client_is_not_told(database_url):
    directory = psycopg.conninfo.conninfo_to_dict(database_url)
    if not directory["host"].startswith("/"):
        pytest.skip("the tests' server is not on a unix socket")
    proxy = Proxy(f"{directory['host']}/.s.PGSQL.{directory.get('port', 5432)}")
    through = psycopg.conninfo.make_conninfo(
        database_url, host="127.0.0.1", port=proxy.port, sslmode="disable"
    )
    try:
        with psycopg.connect(database_url, autocommit=True) as direct:
            direct.execute("CREATE TABLE proxy_told (n int)")
            with psycopg.connect(through) as connection:
                proxy.lose_commits(1)
                connection.execute("INSERT INTO proxy_told VALUES (1)")
                with pytest.raises(psycopg.OperationalError):
                    connection.commit()
            assert direct.execute("SELECT count(*) FROM proxy_told").fetchone() == (1,)
            direct.execute("DROP TABLE proxy_told")
    finally:
        proxy.close()
