"""F24: everything, by chance, for as long as one likes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from .catalogue import fault
from .cluster import LEASE_S, X_S, Stage
from .database_faults import TERMINATE


def _kill(stage: Stage) -> None:
    stage.any_node().send(signal.SIGKILL)


def _kill_all(stage: Stage) -> None:
    for keeper in stage.nodes.values():
        keeper.send(signal.SIGKILL)


def _freeze(stage: Stage) -> None:
    with stage.frozen(stage.any_node()):
        time.sleep(stage.random.choice((1.0, LEASE_S + X_S)))


def _deploy(stage: Stage) -> None:
    for keeper in stage.nodes.values():
        keeper.send(signal.SIGTERM)
        stage.wait_all_active()


def _restart(stage: Stage) -> None:
    with stage.database_away(stage.random.choice(("fast", "immediate"))):
        time.sleep(stage.random.choice((0.0, 8.0)))


def _lose_commits(stage: Stage) -> None:
    for proxy in stage.proxies.values():
        proxy.lose_commits(2)


def _terminate(stage: Stage) -> None:
    stage.sql(TERMINATE, "scheduler %")


def _cut(stage: Stage) -> None:
    keepers = list(stage.nodes.values())
    some = stage.random.sample(keepers, stage.random.randint(1, len(keepers)))
    with stage.cut_off(*(some if len(some) < len(keepers) else [])):
        time.sleep(stage.random.choice((0.3, LEASE_S + X_S)))


def _stall(stage: Stage) -> None:
    with stage.cut_off(stage.any_node(), kind="stalled"):
        time.sleep(LEASE_S + X_S)


HARM: tuple[Callable[[Stage], None], ...] = (
    _kill,
    _kill_all,
    _freeze,
    _deploy,
    _restart,
    _lose_commits,
    _terminate,
    _cut,
    _stall,
)


@fault("F24", "everything at random", quick_s=0, long_s=3600)
def soak(stage: Stage, seconds: float) -> None:
    for _ in stage.during(seconds, 2.0, 8.0):
        harm = stage.random.choice(HARM)
        stage.ledger.note(harm.__name__.strip("_"))
        harm(stage)
    for proxy in stage.proxies.values():
        proxy.lose_commits(0)
