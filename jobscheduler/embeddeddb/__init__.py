"""A PostgreSQL of the project's own, from a pip wheel, for development, demo and tests.

As a Django database engine (`ENGINE = "jobscheduler.embeddeddb"`) it starts the server on first use.
"""
