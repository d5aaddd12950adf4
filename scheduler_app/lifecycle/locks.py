"""The advisory locks that all nodes share; transaction-level only, so that a transaction pooler can stand between."""

PAUSES = 0x5343_4845_4401
"""Shared by fire and claim, exclusive for whoever pauses a queue, a tag or everything."""

PRUNING = 0x5343_4845_4402
"""One node prunes at a time."""
