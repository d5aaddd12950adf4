"""The settings of a drill's processes: those of the site, on a scratch database, with the drill's job among the tasks.

`DRILL_SETTINGS` names the site's settings; `DRILL_CHANGES` is JSON: what of the database and of the scheduler is other.
"""

import json
import os
from importlib import import_module

_site = import_module(os.environ["DRILL_SETTINGS"])
_changes = json.loads(os.environ["DRILL_CHANGES"])

globals().update({name: getattr(_site, name) for name in dir(_site) if name.isupper()})

INSTALLED_APPS = [*_site.INSTALLED_APPS, "scheduler_app.management.drill"]
SCHEDULER = {**getattr(_site, "SCHEDULER", {}), **_changes["scheduler"]}
DATABASES = {**_site.DATABASES}
DATABASES[_changes["alias"]] = {
    **_site.DATABASES[_changes["alias"]],
    **_changes["database"],
    "OPTIONS": {
        **_site.DATABASES[_changes["alias"]].get("OPTIONS", {}),
        **_changes["options"],
    },
}
