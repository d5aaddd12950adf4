"""What the nodes of the fault suite run with: the project's settings, the drill's job and the suite's own."""

from jobscheduler.settings import *  # noqa: F403
from jobscheduler.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "scheduler_app.management.drill", "tests.faults.jobs"]

# Every call of the API proves its password anew, and the storm sends dozens a second.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
