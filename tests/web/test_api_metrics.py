"""What Prometheus is told: the truth, in a bounded number of series and statements, and not to everybody."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from scheduler_app import lifecycle
from scheduler_app.api.metrics import OTHER_QUEUES, QUEUES_SHOWN
from scheduler_app.models import Tally, database_now

from .api_support import API, client_of, make_execution, make_job, make_node, statements

pytestmark = pytest.mark.django_db

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def waiting(**values: Any) -> None:
    """An execution that is ready and due, unless told otherwise."""
    make_execution(make_job(), **({"status": "ready", "run_after": database_now()} | values))


def scrape(**options: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """By sample, by the values of its labels."""
    response = client_of("viewer").get("/metrics", **options)
    assert response.status_code == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        assert family.documentation.endswith(".")
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_the_gauges_say_how_it_is() -> None:
    make_node(busy=3, stuck=1, unwritten=7, trouble="disk_full", listening=True)
    make_node(busy=2, listening=False)
    make_node(state="dead", busy=9)
    waiting(queue="mail")
    waiting(queue="mail")
    waiting(status="blocked", queue="default")

    found = scrape()

    assert found["scheduler_nodes"] == {
        ("active",): 2,
        ("draining",): 0,
        ("stopped",): 0,
        ("dead",): 1,
    }
    assert found["scheduler_nodes_threads"] == {(): 20}
    assert found["scheduler_nodes_busy"] == {(): 5}
    assert found["scheduler_nodes_stuck"] == {(): 1}
    assert found["scheduler_nodes_unwritten"] == {(): 7}
    assert found["scheduler_nodes_deaf"] == {(): 1}
    assert found["scheduler_nodes_in_trouble"] == {(): 1}
    assert found["scheduler_backlog"]["mail", "ready"] == 2
    assert found["scheduler_backlog"]["mail", "running"] == 0
    assert found["scheduler_backlog"]["default", "blocked"] == 1
    assert found["scheduler_backlog_age_seconds"]["mail",] > 0
    assert sum(found["scheduler_health"].values()) == 1


def test_what_a_pause_holds_back_waits_and_is_not_late() -> None:
    waiting(queue="mail", run_after=database_now() - timedelta(seconds=400))
    assert scrape()["scheduler_backlog_age_seconds"]["mail",] >= 400
    lifecycle.pause_scope("queue", "mail", by="ana")

    found = scrape()

    assert found["scheduler_backlog"]["mail", "ready"] == 1
    assert found["scheduler_backlog_age_seconds"]["mail",] == 0
    assert found["scheduler_ready_age_seconds"] == {(): 0}


def test_counters_and_histograms_add_up_over_their_stripes() -> None:
    for stripe in (0, 7):
        Tally.objects.create(stripe=stripe, name="finished", label="failed", count=5)
        Tally.objects.create(stripe=stripe, name="drift", bucket=0, count=10, seconds=0.05)
        Tally.objects.create(stripe=stripe, name="drift", bucket=13, count=1, seconds=7200)

    found = scrape()

    assert found["scheduler_finished_total"]["failed",] == 10
    # Known from the start, so that a rate sees the first one.
    assert found["scheduler_finished_total"]["lost",] == 0
    assert found["scheduler_fired_total"] == {(): 0}
    buckets = found["scheduler_drift_seconds_bucket"]
    assert buckets["0.01",] == buckets["3600.0",] == 20
    assert buckets["+Inf",] == found["scheduler_drift_seconds_count"][()] == 22
    assert found["scheduler_drift_seconds_sum"][()] == pytest.approx(14400.1)


def test_an_empty_scheduler_has_metrics_too() -> None:
    found = scrape()

    assert math.isnan(found["scheduler_tick_age_seconds"][()])
    assert found["scheduler_health"]["down",] == 1


def test_many_queues_are_not_many_series() -> None:
    for number in range(QUEUES_SHOWN + 10):
        waiting(queue=f"q{number:03}")

    found = scrape()["scheduler_backlog"]

    assert len({queue for queue, _ in found}) == QUEUES_SHOWN + 1
    assert found[OTHER_QUEUES, "ready"] == 10
    assert sum(found.values()) == QUEUES_SHOWN + 10


def test_a_scrape_is_a_fixed_number_of_statements() -> None:
    viewer = client_of("viewer")

    def number() -> int:
        with statements() as sent:
            viewer.get("/metrics")
        return len(sent)

    before = number()
    for name in ("a", "b", "c"):
        make_node()
        waiting(queue=name)
        Tally.objects.create(stripe=0, name="withheld", label=name, count=5)

    assert number() == before <= 8


@pytest.mark.parametrize("path", ["/metrics", f"{API}/metrics", f"{API}/metrics/"])
def test_who_may_not_see_nodes_sees_no_metrics(path: str) -> None:
    for role, status in (("anonymous", 401), ("stranger", 403), ("viewer", 200)):
        response = client_of(role).get(path, headers={"accept": "application/openmetrics-text"})
        assert response.status_code == status
        assert (b"scheduler_nodes" in response.content) == (status == 200)


def test_it_is_text_and_is_not_cached() -> None:
    response = client_of("viewer").get("/metrics")

    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert response.headers["Cache-Control"] == "no-store"
    assert client_of("admin").post("/metrics").status_code == 405


# --- The files in docs/monitoring -------------------------------------------------------------


def names_in(expression: str) -> set[str]:
    """The metrics that an expression of PromQL names."""
    return set(re.findall(r"\bscheduler_\w+", expression))


def known() -> set[str]:
    waiting()
    return set(scrape())


def expressions_of_alerts() -> list[str]:
    rules = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text())
    found = []
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["annotations"]["summary"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            found.append(rule["expr"])
    return found


def expressions_of_the_dashboard() -> list[str]:
    board = json.loads((DOCS / "monitoring" / "grafana-dashboard.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [*found, board["templating"]["list"][1]["query"]["query"]]


@pytest.mark.parametrize("expressions", [expressions_of_alerts, expressions_of_the_dashboard])
def test_alerts_and_dashboard_name_only_metrics_that_exist(expressions: Any) -> None:
    metrics = known()

    for expression in expressions():
        assert names_in(expression) <= metrics, expression
        assert expression.count("(") == expression.count(")")
    assert len(set().union(*map(names_in, expressions()))) > 8


def test_the_documentation_lists_every_metric() -> None:
    text = (DOCS / "monitoring.md").read_text()
    families = {
        family.name
        for family in text_string_to_metric_families(
            client_of("viewer").get("/metrics").content.decode()
        )
    }

    for name in families:
        short = "`_" + name.removeprefix("scheduler_nodes_") + "`"
        assert f"`{name}`" in text or f"`{name}_total`" in text or short in text, name
