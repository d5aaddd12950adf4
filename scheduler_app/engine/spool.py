"""Outcomes that a node could not write before it had to end, in files for the next node on this host.

Each is written later with the token that it had, so an execution that was given to somebody else meanwhile stays theirs.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from scheduler_app.lifecycle import Finished, HandBack, LogPart

logger = logging.getLogger(__name__)

MOMENTS = ("started_at", "finished_at")
SUFFIX = ".outcomes"
TAKEN = ".taken"
BAD = ".bad"
UNREADABLE = (ValueError, TypeError, KeyError, StopIteration, RecursionError)


class Spool:
    """The directory for them; without one nothing is kept.

    Ids and tokens mean something in one database alone, whatever its address: a file names the node that wrote it, and
    when that was born.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory) if directory else None

    def keep(
        self, node_id: int, born: str | None, outcomes: Sequence[Finished | HandBack]
    ) -> Path | None:
        """Write them to a file of the node's; None when that is not possible."""
        if self._directory is None or not outcomes:
            return None
        path = self._directory / f"{node_id}-{os.getpid()}{SUFFIX}"
        unfinished = path.with_suffix(".unfinished")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Results and logs may say what is nobody else's business.
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps({"node": node_id, "born": born}) + "\n")
                for outcome in outcomes:
                    file.write(json.dumps(_to_json(outcome)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            logger.error("outcomes could not be kept in a file: %s", error)
            return None
        return path

    def take(
        self, birth_of: Callable[[int], str | None]
    ) -> tuple[list[Finished | HandBack], list[Path]]:
        """What nodes of this database left here, and the files to remove once it is written.

        `birth_of` tells when a node of this database was born. Raises what that raises.
        """
        outcomes: list[Finished | HandBack] = []
        files: list[Path] = []
        if self._directory is None or not self._directory.is_dir():
            return outcomes, files
        # Also what another node took and did not come to write: tokens make repeating safe.
        for path in sorted(
            [*self._directory.glob(f"*{SUFFIX}"), *self._directory.glob(f"*{TAKEN}")]
        ):
            found: list[Finished | HandBack] = []
            try:
                try:
                    is_ours = self._read(path, birth_of, found)
                except UNREADABLE:
                    # It must not be in the way of the others, nor of the next node.
                    bad = path.replace(path.with_suffix(BAD))
                    logger.exception(
                        "a file of outcomes cannot be read to its end and is set aside path=%s", bad
                    )
                else:
                    if is_ours:
                        files.append(path.rename(path.with_suffix(TAKEN)))
            except OSError:
                # Another node of this host was faster.
                continue
            outcomes += found
        return outcomes, files

    def _read(
        self,
        path: Path,
        birth_of: Callable[[int], str | None],
        found: list[Finished | HandBack],
    ) -> bool:
        """Add the outcomes in a file, as far as they can be read; False when they are another database's."""
        with path.open() as file:
            header = json.loads(next(file))
            node_id, born = header["node"], header["born"]
            if type(node_id) is not int:
                raise ValueError(f"node must be a whole number, got {node_id!r}")
            if born is None or birth_of(node_id) != born:
                return False
            found.extend(_from_json(json.loads(line)) for line in file)
        return True


def _to_json(outcome: Finished | HandBack) -> dict[str, Any]:
    values = dataclasses.asdict(outcome)
    if isinstance(outcome, Finished):
        values |= {name: values[name].isoformat() for name in MOMENTS}
    return {type(outcome).__name__: values}


def _from_json(entry: dict[str, Any]) -> Finished | HandBack:
    if "HandBack" in entry:
        return HandBack(**entry["HandBack"])
    values = entry["Finished"]
    values |= {name: datetime.fromisoformat(values[name]) for name in MOMENTS}
    values["log"] = tuple(LogPart(**part) for part in values["log"])
    return Finished(**values)
