"""A command for tests, with an option of every kind."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Say what was given, and do what was asked."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*")
        parser.add_argument("--days", type=int, default=1)
        parser.add_argument("--mode", choices=["fast", "slow"])
        parser.add_argument("--tag", action="append")
        parser.add_argument("--between", nargs=2)
        parser.add_argument("--dry-run", action="store_true")
        parser.add_argument("--noinput", action="store_false", dest="interactive")
        parser.add_argument("--color-it", action=argparse.BooleanOptionalAction)
        parser.add_argument("--then", default="")
        parser.add_argument("--api-token", choices=["right"])

    def handle(self, *args: Any, **options: Any) -> None:
        shown = ("words", "days", "mode", "tag", "between", "dry_run", "interactive", "color_it")
        self.stdout.write(repr({name: options[name] for name in shown}))
        os.write(1, b"past the text layer\n")
        if options["then"] == "fail":
            raise CommandError("there is nothing to say")
        if options["then"] == "exit":
            sys.exit(4)
        if options["then"] == "sleep":
            time.sleep(600)
