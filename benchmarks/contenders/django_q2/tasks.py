"""The task that every contender has."""

from benchmarks import starts


def start(number: int) -> None:
    starts.record(number)
