"""Decisions: values in, decision out. No Django, no database, no clock; the time is an argument."""
