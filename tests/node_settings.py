"""What node processes run with in tests: the project's settings and the tests' tasks, on the tests' database."""

from jobscheduler.settings import *  # noqa: F403
from jobscheduler.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp"]
