"""What a first run creates, and that later runs leave alone what people changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from jobscheduler.operator_account import create_operator_once, operator_password
from jobscheduler.sample_jobs import sample_jobs
from scheduler_app.models import Job

pytestmark = pytest.mark.django_db

ALLOWED_IN_DEVELOPMENT = {
    "kinds": ("task", "http", "management", "shell"),
    "management_commands": ("check",),
    "shell_commands": {"disk-space": ["/bin/df", "-h", "--", "{arguments.path}"]},
}


class TestOperator:
    @pytest.fixture(autouse=True)
    def own_directory(self, settings: Settings, tmp_path: Path) -> Path:
        settings.DATA_DIR = tmp_path
        return tmp_path

    def test_gets_a_random_password_that_can_be_told_again(
        self, own_directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        create_operator_once()

        call_command("operatorpassword")

        operator = User.objects.get()
        assert operator.is_superuser
        assert operator.check_password(operator_password())
        assert capsys.readouterr().out == f"user operator, password {operator_password()}\n"
        assert (own_directory / "operator_password").stat().st_mode & 0o777 == 0o600

    def test_keeps_a_password_of_their_own(self) -> None:
        create_operator_once()
        operator = User.objects.get()
        operator.set_password("a choice of mine")
        operator.save()

        create_operator_once()

        operator.refresh_from_db()
        assert operator.check_password("a choice of mine")
        with pytest.raises(
            CommandError, match=r"was changed .* `manage.py changepassword operator`"
        ):
            call_command("operatorpassword")

    def test_stays_deleted(self) -> None:
        create_operator_once()
        User.objects.all().delete()

        create_operator_once()

        assert not User.objects.exists()
        with pytest.raises(CommandError, match="There is no user 'operator' in this database"):
            call_command("operatorpassword")

    def test_is_not_created_where_there_are_superusers(self) -> None:
        User.objects.create_superuser("anna", password="x")

        create_operator_once()

        assert User.objects.get().username == "anna"

    def test_has_one_password_in_all_databases_of_the_project(self, own_directory: Path) -> None:
        (own_directory / "operator_password").write_text("of the other database")

        create_operator_once()

        assert User.objects.get().check_password("of the other database")


class TestSampleJobs:
    @pytest.fixture(autouse=True)
    def as_in_development(self, settings: Settings) -> None:
        settings.SCHEDULER = {**settings.SCHEDULER, **ALLOWED_IN_DEVELOPMENT}

    def test_are_created_valid_and_one_of_them_paused(self) -> None:
        call_command("createsamplejobs", verbosity=0)

        jobs = Job.objects.all()
        assert {job.name for job in jobs} == {job["name"] for job in sample_jobs("")}
        for job in jobs:
            job.full_clean()
        assert [job.name for job in jobs if job.paused_at] == ["Paused example"]
        assert {job.kind for job in jobs} == {"task", "http", "management", "shell"}
        assert {job.timezone for job in jobs} == {"UTC", "Asia/Tokyo"}

    def test_stay_as_people_left_them(self) -> None:
        call_command("createsamplejobs", verbosity=0)
        tick = Job.objects.get(name="Tick every second")
        tick.schedule = "@every 7s"
        tick.save()
        Job.objects.filter(name="Check this site").delete()

        call_command("createsamplejobs", verbosity=0)

        tick.refresh_from_db()
        assert tick.schedule == "@every 7s"
        assert not Job.objects.filter(name="Check this site").exists()

    def test_come_back_when_asked_for(self) -> None:
        call_command("createsamplejobs", verbosity=0)
        Job.objects.filter(name="Check this site").delete()

        call_command("createsamplejobs", "--again", verbosity=0)

        assert Job.objects.filter(name="Check this site").exists()
        assert Job.objects.count() == len(sample_jobs(""))

    def test_call_the_port_that_the_project_answers_on(self, settings: Settings) -> None:
        settings.PORT = 8123
        settings.SCHEDULER |= {"http_allowed_hosts": ("127.0.0.1:8123",)}

        call_command("createsamplejobs", verbosity=0)

        assert Job.objects.get(kind="http").target == "http://127.0.0.1:8123/livez"

    def test_include_no_call_that_the_settings_forbid(self, settings: Settings) -> None:
        settings.SCHEDULER |= {"http_allowed_hosts": ()}

        call_command("createsamplejobs", verbosity=0)

        assert not Job.objects.filter(kind="http").exists()
        assert Job.objects.count() == len(sample_jobs("")) - 1

    def test_include_no_kind_that_the_settings_forbid(self, settings: Settings) -> None:
        settings.SCHEDULER |= {"kinds": ("task",)}

        call_command("createsamplejobs", verbosity=0)

        assert set(Job.objects.values_list("kind", flat=True)) == {"task"}
