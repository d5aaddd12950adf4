"""The login page, which does not let anybody guess for long."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from scheduler_app.access.caller import client_address
from scheduler_app.access.throttling import TooOften, refuse_guessing


class LoginForm(AdminAuthenticationForm):
    """As the stock form; after too many failures it compares no password for the rest of the minute."""

    def clean(self) -> dict[str, Any]:
        address = client_address(self.request) if self.request else ""
        try:
            refuse_guessing(address, self.cleaned_data.get("username") or "")
        except TooOften as error:
            raise ValidationError(f"{error} Try again in {error.wait_s} s.") from None
        values: dict[str, Any] = super().clean()
        return values
