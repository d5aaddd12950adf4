"""Development's secret key: generated once, kept in a file that only its owner reads."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def kept_secret_key(path: Path) -> str:
    """The key in the file, made on first use; processes that start together agree on one."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, fresh = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(50))
            try:
                # Unlike a rename, a link fails when another process was first.
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                os.unlink(fresh)
        return path.read_text()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The development secret key cannot be kept in {path}: {error.strerror}."
            " Set SECRET_KEY, or DATA_DIR to a directory that this user may write."
        ) from error
