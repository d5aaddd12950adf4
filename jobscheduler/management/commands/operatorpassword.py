"""`manage.py operatorpassword`, or `make password`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from jobscheduler.operator_account import USERNAME, NoPassword, operator_password


class Command(BaseCommand):
    help = "Print the user name and the password that `make run` created."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        try:
            self.stdout.write(f"user {USERNAME}, password {operator_password()}")
        except NoPassword as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(
                f"The database has no accounts yet; `make run` makes them. ({str(error).splitlines()[0]})"
            ) from error
