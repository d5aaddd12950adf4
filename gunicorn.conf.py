"""How gunicorn serves the web part; it reads this file from its working directory."""

from pathlib import Path

from jobscheduler.environment import Env

env = Env()
env.read_file(Path(env.str("ENV_FILE", default=".env")))

bind = f"{env.str('BIND', default='127.0.0.1')}:{env.int('PORT', default=8000)}"
workers = env.int("WEB_CONCURRENCY", default=2)
threads = 8
# Longer than proxies keep theirs, or one would send a request into a connection that is just being closed.
keepalive = 75
# Of what a proxy says, Django believes what the settings name. By default gunicorn believes whoever calls from this machine.
forwarded_allow_ips = ""
# One control socket for all projects of a user would make the second of them fail.
control_socket_disable = True
