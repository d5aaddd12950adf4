"""The life of an execution: fire, claim, finish or retry, rescue, cancel; and the verbs that people use.

Only this package changes `Execution.status` (and the triggers of the first migration, for pauses and deletes
that bypass it). Each step is one short transaction that names what it expects, so a step that lost a race
changes nothing. The hot steps take the engine's psycopg connection, in autocommit; the verbs use Django's.
"""

from .backfilling import (
    MOST_FIRE_TIMES,
    backfill,
    fire_times_to_fill,
)
from .bulk import (
    BulkCount,
    bulk_refusal,
    continue_bulk,
    count_bulk,
    do_bulk_chunk,
    start_bulk,
    stop_bulk,
)
from .calendars import delete_calendar, jobs_using, save_calendar
from .claiming import Claimed, HandBack, claim, hand_back, held_back
from .enqueuing import TaskCall, enqueue
from .finishing import Finished, LogPart, Recorded, finish, record_progress
from .firing import Fired, fire_due_jobs, settle_edited_jobs
from .held import missed_by_pause, missed_while_paused
from .looking import Chores, Outlook, look_ahead, look_round
from .nodes import (
    Condition,
    Contact,
    birth_of,
    drain_node,
    heartbeat,
    held_by,
    register_node,
    stop_node,
)
from .notices import CHANNEL
from .pausing import resume_expired
from .promoting import promote, promote_blocked
from .pruning import Keep, Position, Pruned, prune
from .rescuing import LEAP_S, Rescued, rescue
from .running import MOST_RUNS, Run, run_many
from .selecting import Selection
from .specs import SpecCache
from .tallying import read_tallies
from .tokens import create_token, revoke_token
from .transactions import CannotDo
from .trying import TRIED, try_out
from .verbs import (
    RUN_ALL,
    RUN_CHOICES,
    RUN_LAST,
    RUN_NONE,
    Cancelled,
    cancel,
    delete_jobs,
    pause,
    pause_scope,
    resume,
    resume_scope,
    retry,
    run_now,
    save_job,
    skip_next,
    unskip_next,
)
from .verdicts import Taker
from .zones import replan_moved_zones

__all__ = [
    "CHANNEL",
    "LEAP_S",
    "MOST_FIRE_TIMES",
    "MOST_RUNS",
    "RUN_ALL",
    "RUN_CHOICES",
    "RUN_LAST",
    "RUN_NONE",
    "TRIED",
    "BulkCount",
    "Cancelled",
    "CannotDo",
    "Chores",
    "Claimed",
    "Condition",
    "Contact",
    "Finished",
    "Fired",
    "HandBack",
    "Keep",
    "LogPart",
    "Outlook",
    "Position",
    "Pruned",
    "Recorded",
    "Rescued",
    "Run",
    "Selection",
    "SpecCache",
    "Taker",
    "TaskCall",
    "backfill",
    "birth_of",
    "bulk_refusal",
    "cancel",
    "claim",
    "continue_bulk",
    "count_bulk",
    "create_token",
    "delete_calendar",
    "delete_jobs",
    "do_bulk_chunk",
    "drain_node",
    "enqueue",
    "finish",
    "fire_due_jobs",
    "fire_times_to_fill",
    "hand_back",
    "heartbeat",
    "held_back",
    "held_by",
    "jobs_using",
    "look_ahead",
    "look_round",
    "missed_by_pause",
    "missed_while_paused",
    "pause",
    "pause_scope",
    "promote",
    "promote_blocked",
    "prune",
    "read_tallies",
    "record_progress",
    "register_node",
    "replan_moved_zones",
    "rescue",
    "resume",
    "resume_expired",
    "resume_scope",
    "retry",
    "revoke_token",
    "run_many",
    "run_now",
    "save_calendar",
    "save_job",
    "settle_edited_jobs",
    "skip_next",
    "start_bulk",
    "stop_bulk",
    "stop_node",
    "try_out",
    "unskip_next",
]
