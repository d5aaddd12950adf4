"""API tokens: those of oneself, or of everybody for who may see them; made here and shown once, revoked at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import ApiToken, database_now
from scheduler_app.models.token import Scope

from .base import SchedulerAdmin
from .display import printable

DAYS = {"7": "a week", "30": "30 days", "90": "90 days", "365": "a year", "": "until it is revoked"}


class TokenForm(forms.Form):
    """What the token is for, what it may do, and for how long."""

    name = forms.CharField(
        max_length=100,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text="What it is for, such as: deploy pipeline.",
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=[Scope.READ],
        widget=forms.CheckboxSelectMultiple,
        help_text="Never more than you may do yourself.",
    )
    lasts = forms.ChoiceField(choices=list(DAYS.items()), initial="90", required=False)


@admin.register(ApiToken)
class TokenAdmin(SchedulerAdmin):
    """Nobody edits a token: it is made for oneself, and revoked."""

    list_display = ("id",)
    list_display_links = None
    sortable_by = ()
    ordering = ("-id",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """One's own; all for who may see all."""
        tokens = ApiToken.objects.select_related("user")
        if request.user.has_perm("scheduler_app.view_apitoken"):
            return tokens
        return tokens.filter(user=request.user.pk)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may make tokens sees their own."""
        return any(
            request.user.has_perm(f"scheduler_app.{verb}_apitoken")
            for verb in ("view", "add", "delete")
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tokens stay, revoked, so that their entries in the audit trail say whose they were."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The stock addresses and that of revoking."""
        return [
            path(
                "<int:token_id>/revoke/",
                self.admin_site.admin_view(require_POST(self.revoke_view)),
                name="scheduler_app_apitoken_revoke",
            ),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Which of them are one's own decides about the buttons."""
        context = {"may_revoke_all": self._may_revoke_all(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Make one for oneself. The answer to the POST is the only page that shows it."""
        self.require(self.has_add_permission(request))
        form = TokenForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            values = form.cleaned_data
            days = values["lasts"]
            try:
                token, text = lifecycle.create_token(
                    request.user,
                    values["name"],
                    scopes=values["scopes"],
                    by=request.user.get_username(),
                    expires_at=database_now() + timedelta(days=int(days)) if days else None,
                )
            except CannotDo as error:
                form.add_error(None, str(error))
            else:
                context = {"title": "New API token", "token": token, "text": text}
                response = self.page(request, "apitoken/made.html", context)
                response["Cache-Control"] = "no-store"
                return response
        return self.page(
            request,
            "verb.html",
            {
                "title": "Make an API token",
                "text": "A program sends it in place of your name and password, and may do what you may, "
                "as far as its scopes go. When your account is switched off, so is the token.",
                "form": form,
                "submit": "Make it",
                "cancel_url": self.list_url(request),
            },
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """A token is told whole by the list."""
        self.require(self.has_view_permission(request))
        return HttpResponseRedirect(self.list_url(request))

    def revoke_view(self, request: HttpRequest, token_id: int) -> HttpResponse:
        """One's own, or anybody's for who may delete tokens."""
        self.require(self.has_view_permission(request))
        token = self.get_queryset(request).filter(pk=token_id).first()
        if token is None:
            raise Http404("There is no such token.")
        self.require(token.user_id == request.user.pk or self._may_revoke_all(request))
        if lifecycle.revoke_token(token_id, by=request.user.get_username()):
            self.say(request, f"{printable(token.name)} opens nothing any more.")
        else:
            self.say(request, f"{printable(token.name)} was revoked before.", problem=True)
        return HttpResponseRedirect(self.list_url(request))

    def _may_revoke_all(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduler_app.delete_apitoken")
