"""The node: the threads and timers behind `manage.py runscheduler`."""
