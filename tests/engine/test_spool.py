"""Files of outcomes that a node could not write: what the next node on the host takes from them, whatever they hold."""

from __future__ import annotations

import json

import pytest

from scheduler_app.engine.spool import Spool
from scheduler_app.lifecycle import HandBack

BORN = "2030-01-01 12:00:00+00"
HEADER = json.dumps({"node": 1, "born": BORN})
DEEP = "[" * 200_000

BAD = {
    "empty": b"",
    "not JSON": b"outcomes",
    "not text": b"\xff\xfe",
    "not an object": b"7",
    "no id": b'{"node": "x", "born": "y"}',
    "an id of another kind": b'{"node": true, "born": "y"}',
    "too deep at once": DEEP.encode(),
    "too deep later": f"{HEADER}\n{DEEP}\n".encode(),
    "unknown fields": f'{HEADER}\n{{"HandBack": {{"unknown": 1}}}}\n'.encode(),
    "unknown kind": f'{HEADER}\n{{"Lost": {{}}}}\n'.encode(),
}


def birth_of(node_id: int) -> str | None:
    return {1: BORN, 2: BORN}.get(node_id)


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_read_is_set_aside_and_the_next_one_is_taken(
    tmp_path, content, caplog
):
    spool = Spool(str(tmp_path))
    (tmp_path / "1-1.outcomes").write_bytes(content)
    kept = [HandBack(7, 1)]
    assert spool.keep(2, BORN, kept)

    outcomes, files = spool.take(birth_of)

    assert outcomes == kept
    [taken] = files
    bad = tmp_path / "1-1.bad"
    assert set(tmp_path.iterdir()) == {taken, bad}
    assert bad.read_bytes() == content
    assert f"set aside path={bad}" in caplog.text
    # The next node has nothing to do with it.
    taken.unlink()
    assert spool.take(birth_of) == ([], [])


def test_what_stands_before_the_unreadable_is_taken(tmp_path):
    spool = Spool(str(tmp_path))
    path = spool.keep(2, BORN, [HandBack(7, 1), HandBack(8, 1)])
    path.write_bytes(path.read_bytes()[:-10])

    assert spool.take(birth_of) == ([HandBack(7, 1)], [])


def test_a_file_of_another_database_stays(tmp_path):
    spool = Spool(str(tmp_path))
    path = spool.keep(2, "at another time", [HandBack(7, 1)])

    assert spool.take(birth_of) == ([], [])
    assert path.exists()


def test_a_node_starts_beside_files_that_cannot_be_read(start_node, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    for name in ("no id", "an id of another kind", "too deep at once"):
        (spool / f"{name}.outcomes").write_bytes(BAD[name])

    node = start_node(spool_directory=spool)

    assert {path.suffix for path in spool.iterdir()} == {".bad"}
    assert node.process.poll() is None
