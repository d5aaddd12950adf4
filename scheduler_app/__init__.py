"""A distributed job scheduler that lives inside Django and coordinates through PostgreSQL alone."""
