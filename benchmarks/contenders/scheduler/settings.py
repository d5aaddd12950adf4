"""The project's settings and the benchmarks' tasks."""

from jobscheduler.settings import *  # noqa: F403
from jobscheduler.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.contenders.scheduler"]
