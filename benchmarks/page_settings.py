"""The project's settings for measuring pages: as in production, but that no static files need to be collected."""

from jobscheduler.settings import *  # noqa: F403
from jobscheduler.settings import STORAGES

STORAGES = STORAGES | {
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
}
SECURE_SSL_REDIRECT = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
