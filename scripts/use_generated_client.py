"""Create, run and watch a job with the client that openapi-python-client made from the API's document.

`make test-client` makes the client and runs this in its virtual environment; for an API of your own:
python scripts/use_generated_client.py http://localhost:8000 NAME PASSWORD TASK
"""

from __future__ import annotations

import base64
import sys
import time
from typing import Any

from job_scheduler_api_client import AuthenticatedClient
from job_scheduler_api_client.api.executions import execution_log, execution_retrieve
from job_scheduler_api_client.api.jobs import job_create, job_destroy, job_list, job_run, job_stats
from job_scheduler_api_client.models import JobDetailRequest, Problem, RunRequest

PATIENCE_S = 120


def main(address: str, name: str, password: str, task: str) -> None:
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    client = AuthenticatedClient(base_url=address, token=token, prefix="Basic")
    job_name = f"generated client {time.time():.0f}"

    refused = job_create.sync(client=client, body=JobDetailRequest(name=job_name, target="nope"))
    assert isinstance(refused, Problem), refused
    print(f"refused: {refused.errors[0].field}: {refused.errors[0].message[:60]}…")

    wanted = JobDetailRequest(name=job_name, target=task, schedule="@daily", tags=["generated"])
    job: Any = job_create.sync(client=client, body=wanted, idempotency_key=job_name)
    again: Any = job_create.sync(client=client, body=wanted, idempotency_key=job_name)
    assert job.id == again.id, (job, again)
    print(f"created: {job.name}, {job.schedule_description}, next at {job.next_fire_at}")

    listed: Any = job_list.sync(client=client, tag="generated", search=job_name)
    assert [found.id for found in listed.results] == [job.id], listed

    execution: Any = job_run.sync(str(job.id), client=client, body=RunRequest())
    print(f"runs: execution {execution.id}, {execution.status}")
    until = time.monotonic() + PATIENCE_S
    while execution.finished_at is None and time.monotonic() < until:
        time.sleep(0.2)
        execution = execution_retrieve.sync(execution.id, client=client)
    print(f"ended: {execution.status}, {execution.duration_s} s, result {execution.result!r}")
    assert execution.status == "succeeded", execution

    log = execution_log.sync(execution.id, client=client)
    stats: Any = job_stats.sync(job.name, client=client)
    print(f"log: {log!r}; success rate {stats.success_rate}")
    assert stats.succeeded == 1, stats
    assert job_destroy.sync_detailed(job.name, client=client).status_code == 204
    print("deleted")


if __name__ == "__main__":
    main(*sys.argv[1:])
