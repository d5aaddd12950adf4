"""How gunicorn serves the web part; read by `gunicorn` from the working directory."""

import os

bind = f"{os.environ.get('BIND', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 8
# One control socket for all projects of a user would make the second of them fail.
control_socket_disable = True
