"""Who may do what: the caller of a verb, and where the request came from. Below admin, API and commands alike."""

from . import visible
from .caller import Caller, RequestCaller, calling, current_caller
from .rights import NotAllowed, require_kinds, require_targets

__all__ = [
    "Caller",
    "NotAllowed",
    "RequestCaller",
    "calling",
    "current_caller",
    "require_kinds",
    "require_targets",
    "visible",
]
