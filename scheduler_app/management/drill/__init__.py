"""Break a running scheduler on purpose and check what it did: behind `manage.py schedulerdrill` and the fault suite.

What judges (`checker`, `fire_times`, `evidence`, `ledger`) knows nothing of what is judged: it imports no other part of
the app, which an import contract proves.
"""
