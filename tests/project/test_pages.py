"""What every response carries, and the liveness page."""

from __future__ import annotations

import pytest
from django.test import Client, override_settings


def test_liveness_needs_no_database_no_login_and_no_host_name(client: Client) -> None:
    # Without the django_db mark, a query would fail.
    with override_settings(ALLOWED_HOSTS=["example.org"], SECURE_SSL_REDIRECT=True):
        response = client.get("/livez", headers={"host": "10.1.2.3:8000"})

    assert (response.status_code, response.content) == (200, b"ok")
    assert client.head("/livez").status_code == 200
    assert Client().post("/livez").status_code == 404


@pytest.mark.parametrize("path", ["/livez", "/", "/admin/login/", "/nowhere"])
@pytest.mark.django_db
def test_every_page_forbids_framing_and_foreign_content(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Frame-Options"] == "DENY"


def test_the_front_page_leads_to_the_admin(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/admin/"
