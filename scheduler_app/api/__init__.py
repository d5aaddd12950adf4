"""The API for programs, `/api/v1/`: the same verbs and the same validation as the admin."""
