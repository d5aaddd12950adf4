"""When a failed execution is tried again."""

from __future__ import annotations

import random

from .spec import JobSpec


def retry_delay_s(spec: JobSpec, *, attempt: int, chance: random.Random | None = None) -> float:
    """Seconds to wait after attempt number `attempt` (the first is 1) failed.

    Exponential, capped, then spread by the jitter, so that what failed together does not return together.
    """
    draw = (chance or random).uniform(-spec.retry_jitter, spec.retry_jitter)
    try:
        delay = spec.retry_backoff_s * spec.retry_factor ** (attempt - 1)
    except OverflowError:
        delay = spec.retry_cap_s
    return max(0.0, min(delay, spec.retry_cap_s) * (1 + draw))


def may_retry(spec: JobSpec, *, attempt: int, permanent: bool) -> bool:
    """Whether another attempt is allowed and could help."""
    return not permanent and attempt < spec.max_attempts
