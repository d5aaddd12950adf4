"""The account that `make run` creates to log in with, and its password."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model

from jobscheduler.models import once

USERNAME = "operator"


class NoPassword(Exception):
    """The password cannot be told; says why and what to do."""


def create_operator_once() -> None:
    """A superuser with a random password, unless the database has superusers or had this one before."""
    users = get_user_model()._default_manager
    with once("operator account") as first:
        if not first or users.filter(is_superuser=True).exists():
            return
        if not users.filter(username=USERNAME).exists():
            users.create_superuser(USERNAME, password=_kept_password())


def operator_password() -> str:
    """The password as it was created, if it still is the password; otherwise `NoPassword`."""
    user = get_user_model()._default_manager.filter(username=USERNAME).first()
    if user is None:
        raise NoPassword(
            f"There is no user {USERNAME!r} in this database. `make run` creates one at its first run,"
            " unless there are superusers already; `manage.py createsuperuser` creates another."
        )
    try:
        password = _password_file().read_text()
    except OSError:
        password = None
    if password is None or not user.check_password(password):
        raise NoPassword(
            f"The password of {USERNAME!r} was changed since it was created, so only who changed it knows it."
            f" `manage.py changepassword {USERNAME}` sets a new one."
        )
    return password


def _kept_password() -> str:
    """Read from its file, which other databases of this project may have put there, or made up and written."""
    path = _password_file()
    try:
        return path.read_text()
    except FileNotFoundError:
        password = secrets.token_urlsafe(12)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
        return password


def _password_file() -> Path:
    directory: Path = settings.DATA_DIR
    return directory / "operator_password"
