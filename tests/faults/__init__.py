"""The fault suite: real nodes on a real PostgreSQL, broken on purpose, and a checker that trusts neither.

`make faults` runs it; `python -m tests.faults F1 --seconds 40 --seed 7` runs one fault. docs/faults.md has the rest.
"""
