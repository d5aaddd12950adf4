"""`manage.py schedulertoken`: API tokens from the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_app import lifecycle
from scheduler_app.access import Caller, calling
from scheduler_app.admin.display import printable
from scheduler_app.management.who import who
from scheduler_app.models import ApiToken, Source, database_now
from scheduler_app.models.token import Scope

USER_NAME = get_user_model().USERNAME_FIELD


class Command(BaseCommand):
    help = "Make, list and revoke tokens for the API. A token is printed once, when it is made."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a token and print it")
        create.add_argument("user", help="whose rights it has")
        create.add_argument("name", help="what it is for")
        create.add_argument(
            "--scope", action="append", choices=Scope.values, help="read (the default), run, …"
        )
        create.add_argument("--days", type=float, help="how long it lasts; without: until revoked")
        listing = verbs.add_parser("list", help="the tokens that can be used, newest first")
        listing.add_argument("--user", help="of this user alone")
        listing.add_argument("--all", action="store_true", help="the revoked and expired as well")
        revoke = verbs.add_parser("revoke", help="let a token open nothing any more")
        revoke.add_argument("id", type=int, help="as the list shows it")

    def handle(self, *, verb: str, **options: Any) -> None:
        with calling(Caller(Source.COMMAND)):
            match verb:
                case "create":
                    self._create(**options)
                case "list":
                    self._list(**options)
                case "revoke":
                    self._revoke(options["id"])

    def _create(
        self,
        *,
        user: str,
        name: str,
        scope: list[str] | None,
        days: float | None,
        **_: Any,
    ) -> None:
        if days is not None and not 0 < days <= 36_500:
            raise CommandError(f"--days must be more than 0 and at most 36500, got {days:g}.")
        found = self._user(user)
        expires_at = None if days is None else database_now() + timedelta(days=days)
        try:
            made = lifecycle.create_token(
                found, name, scopes=scope or [Scope.READ], by=who(), expires_at=expires_at
            )
        except lifecycle.CannotDo as error:
            raise CommandError(str(error)) from None
        self.stdout.write(made[1])
        self.stderr.write("Keep it now: it is not shown again. Send it as: Authorization: Bearer …")

    def _list(self, *, user: str | None, all: bool, **_: Any) -> None:
        tokens = ApiToken.objects.select_related("user")
        if user is not None:
            tokens = tokens.filter(user=self._user(user))
        now = database_now()
        shown = 0
        for token in tokens:
            is_over = token.revoked_at or (token.expires_at and token.expires_at <= now)
            if is_over and not all:
                continue
            shown += 1
            state = (
                "revoked"
                if token.revoked_at
                else "expired"
                if is_over
                else f"until {token.expires_at:%Y-%m-%d %H:%M} UTC"
                if token.expires_at
                else "no end"
            )
            used = f"{token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never"
            self.stdout.write(
                f"{token.pk:>6}  {printable(token.user.get_username())}  {printable(token.name)}  "
                f"{','.join(token.scopes)}  {state}  used {used}"
            )
        if not shown:
            self.stderr.write("There are no tokens.")

    def _revoke(self, token_id: int) -> None:
        if not ApiToken.objects.filter(pk=token_id).exists():
            raise CommandError(
                f"There is no token {token_id}; `schedulertoken list --all` has all."
            )
        if not lifecycle.revoke_token(token_id, by=who()):
            raise CommandError(f"Token {token_id} was revoked before.")
        self.stdout.write(f"Token {token_id} opens nothing any more.")

    def _user(self, name: str) -> Any:
        user = get_user_model()._default_manager.filter(**{USER_NAME: name}).first()
        if user is None:
            raise CommandError(f"There is no user {printable(name)!r}.")
        return user
