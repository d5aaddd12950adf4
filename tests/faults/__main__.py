"""`python -m tests.faults F1 --seconds 40 --seed 7`: one fault or some, without pytest."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from .cluster import Cluster
from .faults import FAULTS
from .running import run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Break a running scheduler on purpose and check every promise.",
        epilog="; ".join(f"{fault.name} {fault.title}" for fault in FAULTS.values()),
    )
    parser.add_argument("names", nargs="+", choices=sorted(FAULTS), metavar="FAULT")
    parser.add_argument("--seconds", type=float, help="of injection (default: the quick tier's)")
    parser.add_argument("--seed", type=int, help="of all chance (default: by chance, and printed)")
    parser.add_argument(
        "--patience", type=float, default=5.0, help="seconds that a busy machine may add to bounds"
    )
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="jobscheduler-faults-"))
    # Lets the unprivileged user through that runs the server for root.
    os.chmod(directory, 0o711)
    cluster = Cluster(directory)
    failed = 0
    try:
        for name in options.names:
            fault = FAULTS[name]
            result = run(
                cluster,
                fault,
                seconds=options.seconds if options.seconds is not None else fault.quick_s,
                seed=options.seed if options.seed is not None else random.randrange(10_000),
                patience_s=options.patience,
            )
            failed += bool(result.problems)
            print(result.story, f"(took {result.took_s:.0f} s)", flush=True)
    finally:
        cluster.close()
        if not failed:
            shutil.rmtree(directory, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
