"""What every response carries, and the pages for orchestrators."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client, override_settings


def test_liveness_needs_no_database_no_login_and_no_host_name(client: Client) -> None:
    # Without the django_db mark, a query would fail.
    with override_settings(ALLOWED_HOSTS=["example.org"], SECURE_SSL_REDIRECT=True):
        response = client.get("/livez", headers={"host": "10.1.2.3:8000"})

    assert (response.status_code, response.content) == (200, b"ok")
    assert client.head("/livez").status_code == 200
    assert Client().post("/livez").status_code == 404


@pytest.mark.django_db
def test_readiness_needs_the_database_and_no_login_and_no_host_name(client: Client) -> None:
    with override_settings(ALLOWED_HOSTS=["example.org"], SECURE_SSL_REDIRECT=True):
        response = client.get("/readyz", headers={"host": "10.1.2.3:8000"})

    assert (response.status_code, response.content) == (200, b"ok")
    assert client.head("/readyz").status_code == 200
    assert Client().post("/readyz").status_code == 404


@pytest.mark.django_db
def test_it_is_not_ready_while_a_migration_is_missing(client: Client) -> None:
    newest = MigrationRecorder.Migration.objects.filter(app="scheduler_app").latest("id")
    newest.delete()

    response = client.get("/readyz")

    assert (response.status_code, response.content) == (503, b"migrations are missing: 1")


@pytest.mark.django_db
def test_it_is_not_ready_while_the_database_does_not_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OperationalError("could not connect to 10.1.2.3, password canary")

    monkeypatch.setattr(connection, "cursor", refuse)

    response = client.get("/readyz")

    assert (response.status_code, response.content) == (503, b"the database does not answer")


@pytest.mark.parametrize("path", ["/livez", "/", "/admin/login/", "/nowhere"])
@pytest.mark.django_db
def test_every_page_forbids_framing_and_foreign_content(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Frame-Options"] == "DENY"


def test_the_front_page_leads_to_the_admin(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/admin/"
