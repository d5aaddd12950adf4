"""S7: a token is hashed at rest, shown once, never more than its user, and worth nothing once revoked."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.access import tokens
from scheduler_app.management.who import who
from scheduler_app.models import ApiToken, AuditEntry, Job, Source, Verb, database_now
from tests.web.admin_support import Browser
from tests.web.api_support import API, ApiClient, make_job, make_user

pytestmark = pytest.mark.django_db

TOKENS = "/admin/scheduler_app/apitoken/"


def new_token(role: str = "operator", *scopes: str, **options) -> tuple[ApiToken, str]:
    user = options.pop("user", None) or make_user(role)
    return lifecycle.create_token(user, "ci", scopes=scopes or ["read"], by="ana", **options)


def program(text: str) -> ApiClient:
    return ApiClient(headers={"Authorization": f"Bearer {text}"})


def test_s07_a_token_opens_what_its_user_may_see_and_notes_its_use() -> None:
    token, text = new_token()

    assert program(text).get(f"{API}/jobs/").status_code == 200

    token.refresh_from_db()
    assert token.last_used_at is not None


def test_s07_use_is_noted_at_most_once_a_minute() -> None:
    _, text = new_token()
    client = program(text)
    client.get(f"{API}/jobs/")
    before = ApiToken.objects.get().last_used_at

    client.get(f"{API}/jobs/")
    assert ApiToken.objects.get().last_used_at == before

    ApiToken.objects.update(last_used_at=before - timedelta(minutes=2))
    client.get(f"{API}/jobs/")
    assert ApiToken.objects.get().last_used_at > before - timedelta(minutes=1)


def test_s07_a_dump_of_the_table_contains_no_usable_token() -> None:
    _, text = new_token()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(token)::text FROM scheduler_app_apitoken AS token")
        [(row,)] = cursor.fetchall()
        cursor.execute("SELECT to_jsonb(entry)::text FROM scheduler_app_auditentry AS entry")
        trail = " ".join(text for (text,) in cursor.fetchall())

    secret = text.split("_", 2)[2]
    assert secret not in row + trail
    candidates = set(re.findall(r"[\w-]{12,}", row))
    assert len(candidates) >= 2
    key = ApiToken.objects.get().key
    for candidate in candidates | {f"sch_{key}_{c}" for c in candidates}:
        assert program(candidate).get(f"{API}/jobs/").status_code == 401


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: get_user_model().objects.filter(pk=token.user_id).update(is_active=False),
        lambda token: lifecycle.revoke_token(token.pk, by="ana"),
        lambda token: ApiToken.objects.update(expires_at=database_now()),
    ],
    ids=["user disabled", "revoked", "expired"],
)
def test_s07_what_ends_a_token_ends_it_at_once(spoil) -> None:
    token, text = new_token()
    client = program(text)
    assert client.get(f"{API}/jobs/").status_code == 200

    spoil(token)

    response = client.get(f"{API}/jobs/")
    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert "WWW-Authenticate" in response


@pytest.mark.parametrize(
    "text",
    ["", "x", "sch_", "sch__", "sch_abc_def", "sch_aaaaaaaaaaaa_" + "x" * 43, "é" * 20, "a b", "\x00"],
)  # fmt: skip
def test_s07_what_is_no_token_is_refused(text: str) -> None:
    new_token()

    assert program(text).get(f"{API}/jobs/").status_code == 401


def test_s07_the_digests_are_compared_in_constant_time(monkeypatch) -> None:
    compared = []
    monkeypatch.setattr(tokens, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    _, text = new_token()

    tokens.recognise(text)
    for wrong in (text[:-1] + "x", "sch_aaaaaaaaaaaa_secret"):
        with pytest.raises(tokens.BadToken):
            tokens.recognise(wrong)

    assert len(compared) == 3


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("read", {"list"}), ("run", {"run"}), ("pause", {"pause"}), ("edit", {"edit"})],
)
def test_s07_scopes_bound_what_a_token_may_do(scope: str, allowed: set[str]) -> None:
    job = make_job()
    _, text = new_token("admin", "read", scope)
    client = program(text)
    codes = {
        "list": client.get(f"{API}/jobs/").status_code,
        "run": client.post(f"{API}/jobs/{job.pk}/run/", {}).status_code,
        "pause": client.post(f"{API}/jobs/{job.pk}/pause/", {}).status_code,
        "edit": client.patch(f"{API}/jobs/{job.pk}/", {"priority": 3}).status_code,
    }

    assert {name for name, code in codes.items() if code < 300} == allowed | {"list"}
    assert {code for code in codes.values() if code >= 300} <= {403}


def test_s07_scopes_give_nothing_that_the_user_lacks() -> None:
    job = make_job()
    _, text = new_token("viewer", "read", "run", "pause", "edit")
    client = program(text)

    assert client.post(f"{API}/jobs/{job.pk}/run/", {}).status_code == 403
    assert client.delete(f"{API}/jobs/{job.pk}/").status_code == 403
    assert Job.objects.filter(pk=job.pk).exists()


def test_s07_what_a_token_did_names_it_in_the_audit_trail() -> None:
    job = make_job()
    _, text = new_token("operator", "read", "run")

    program(text).post(f"{API}/jobs/{job.pk}/run/", {})

    entry = AuditEntry.objects.get(verb=Verb.JOB_RUN)
    assert (entry.token, entry.source) == ("ci", Source.API)


def test_s07_a_token_needs_no_csrf_token_and_a_session_does() -> None:
    job = make_job()
    _, text = new_token("operator", "read", "run")
    client = ApiClient(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {text}"})
    assert client.post(f"{API}/jobs/{job.pk}/run/", {}).status_code == 202

    browser = ApiClient(enforce_csrf_checks=True)
    browser.force_login(make_user("operator"))
    assert browser.post(f"{API}/jobs/{job.pk}/run/", {}).status_code == 403


# --- The admin ------------------------------------------------------------------------------------


def test_s07_the_admin_shows_a_token_once() -> None:
    browser = Browser("view_job", "add_apitoken")
    browser.open(f"{TOKENS}add/")

    page = browser.press("Make it", name="deploy", scopes=["read", "run"])

    [text] = set(re.findall(r"sch_\w{12}_[\w-]{43}", page.html))
    assert program(text).get(f"{API}/jobs/").status_code == 200
    token = ApiToken.objects.get()
    assert (token.user, token.scopes, token.created_by) == (browser.user, ["read", "run"], "ana")
    assert token.expires_at is not None
    assert text.split("_", 2)[2] not in browser.open(TOKENS).html
    assert "deploy" in browser.page.main

    browser.press("Revoke")
    assert program(text).get(f"{API}/jobs/").status_code == 401
    assert AuditEntry.objects.filter(object_kind="token").count() == 2


def test_s07_others_tokens_are_seen_and_revoked_by_right_alone() -> None:
    token, _ = new_token()
    browser = Browser("add_apitoken", name="mallory")
    assert not re.search(r"\bci\b", browser.open(TOKENS).main)
    assert browser.post(f"{TOKENS}{token.pk}/revoke/").status_code == 404
    viewer = Browser("view_apitoken", name="vera")
    assert re.search(r"\bci\b", viewer.open(TOKENS).main)
    assert viewer.post(f"{TOKENS}{token.pk}/revoke/").status_code == 403
    assert viewer.post(f"{TOKENS}add/", name="x", scopes="read").status_code == 403
    assert Browser("view_job", name="nobody").post(TOKENS).status_code == 403
    token.refresh_from_db()
    assert token.revoked_at is None
    admin = Browser("view_apitoken", "delete_apitoken", name="root")
    admin.post(f"{TOKENS}{token.pk}/revoke/")
    token.refresh_from_db()
    assert token.revoked_by == "root"


# --- The command ----------------------------------------------------------------------------------


def command(*args: str) -> str:
    out = StringIO()
    call_command("schedulertoken", *args, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_s07_the_command_makes_lists_and_revokes() -> None:
    user = make_user("operator", "olga")
    text = command("create", "olga", "deploy", "--scope", "run", "--scope", "read", "--days", "1")
    assert program(text).get(f"{API}/jobs/").status_code == 200
    token = ApiToken.objects.get()
    assert (token.user, token.scopes) == (user, ["read", "run"])
    assert "olga  deploy  read,run" in command("list", "--user", "olga")

    command("revoke", str(token.pk))

    assert command("list") == ""
    assert "revoked" in command("list", "--all")
    entries = AuditEntry.objects.filter(source=Source.COMMAND)
    assert [entry.who for entry in entries] == [who(), who()]
    for bad in (
        ("create", "nobody", "x"),
        ("create", "olga", " "),
        ("create", "olga", "x", "--days", "0"),
        ("revoke", str(token.pk)),
        ("revoke", "999999"),
    ):
        with pytest.raises(CommandError):
            command(*bad)
