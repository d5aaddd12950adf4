"""The project's settings for tests: a temporary database, unless TEST_DATABASE_URL or DATABASE_URL names a server.

All that tests write goes to one temporary directory; a `.env` file plays no part.
"""

import os
import tempfile

os.environ["ENV_FILE"] = os.devnull
os.environ["DEBUG"] = "1"
# Taken away, so that processes that tests start find only the DATABASE_URL that tests give them.
if url := os.environ.pop("TEST_DATABASE_URL", ""):
    os.environ["DATABASE_URL"] = url
# The processes of pytest-xdist inherit the directory and so share one server.
if "TEST_DATA_DIR" not in os.environ:
    os.environ["TEST_DATA_DIR"] = tempfile.mkdtemp(prefix="jobscheduler-tests-")
    # Lets the unprivileged user through that runs the server when tests run as root.
    os.chmod(os.environ["TEST_DATA_DIR"], 0o711)
os.environ["DATA_DIR"] = os.environ["TEST_DATA_DIR"]

from jobscheduler.settings import *  # noqa: F403
from jobscheduler.settings import DATABASES, SCHEDULER

# Read by the embedded engine only: a crash may lose the data, so nothing waits for the disk.
DATABASES["default"]["DURABLE"] = False

# As in production: what development allows besides is for the tests of it to switch on.
for option in ("kinds", "management_commands", "shell_commands"):
    del SCHEDULER[option]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp"]  # noqa: F405

# Tests ask far more often than people; those of the limits set their own.
SCHEDULER |= {
    "writes_per_minute": 0,
    "runs_per_minute": 0,
    "login_failures_per_minute": 0,
}
