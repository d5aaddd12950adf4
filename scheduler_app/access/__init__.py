"""Who may do what: the caller of a verb, and where the request came from. Below admin, API and commands alike."""

from .caller import Caller, RequestCaller, calling, current_caller

__all__ = ["Caller", "RequestCaller", "calling", "current_caller"]
