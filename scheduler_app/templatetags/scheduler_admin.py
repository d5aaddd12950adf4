"""Tags and filters of the admin's own templates."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.template.context import RequestContext
from django.utils.safestring import SafeString

from scheduler_app.admin import display, overview
from scheduler_app.admin.front_page import front_page
from scheduler_app.admin.html import (
    badge_html,
    countdown_html,
    glyph_html,
    moment_html,
    verdict_key,
)
from scheduler_app.admin.strip import legend_html
from scheduler_app.rules.masking import masked_text

register = template.Library()

register.filter("masked", masked_text)
register.filter("printable", display.printable)
register.filter("pretty_json", display.pretty_json)
register.filter("reason_in_words", display.reason_in_words)
register.filter("verdict_key", verdict_key)


@register.filter
def duration(value: timedelta | float | None) -> str:
    """`350 ms`, `4.2 s`, `3 min 12 s`."""
    return display.duration(value)


@register.filter
def per_day(rate: float) -> str:
    """`24 runs a day`, `one run in 30 days`, for a number of runs a day."""
    return display.per_day(rate)


@register.filter
def wall_clock(value: datetime) -> str:
    """`02:00`, or with seconds, by the offset that the moment has."""
    return f"{value:%H:%M:%S}".removesuffix(":00")


@register.filter
def wall_date(value: datetime) -> str:
    """`2030-01-31`, by the offset that the moment has."""
    return f"{value:%Y-%m-%d}"


@register.filter
def milliseconds(value: float | None) -> str:
    """A number of milliseconds as a duration."""
    return display.duration(value / 1000) if isinstance(value, int | float) else ""


@register.filter
def span_until(value: datetime, now: datetime) -> str:
    """`12 s`, `3 min 5 s`."""
    return display.span(now - value)


@register.filter
def utc(value: datetime) -> str:
    """The moment in UTC, to the second."""
    return display.clock(value, display.zone_of("UTC"))


@register.filter
def ago(value: datetime, now: datetime) -> str:
    """`12 s ago`, `in 5 min 3 s`."""
    return display.relative(value, now)


@register.filter
def grouped(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


@register.filter
def plain(value: float) -> str:
    """A coordinate of a drawing, the same in every language."""
    return f"{value:g}"


@register.simple_tag
def countdown(value: datetime, now: datetime, zone: str = "UTC") -> SafeString:
    """How long until a moment, which scripts count down; the moment itself in its zone as a hint."""
    return countdown_html(value, now, zone)


@register.simple_tag
def strip_legend() -> SafeString:
    """What the shapes of a strip mean."""
    return legend_html()


@register.simple_tag
def ansi_classes(style: str) -> str:
    """The classes of a piece of a log."""
    return " ".join(f"sch-ansi-{word}" for word in style.split())


@register.simple_tag(takes_context=True)
def moment(context: RequestContext, value: datetime | None, zone: str = "UTC") -> str | SafeString:
    """A moment in a zone with its distance from the page's `now`; nothing for None."""
    return "" if value is None else moment_html(value, zone, context["now"])


@register.simple_tag(takes_context=True)
def moment_only(
    context: RequestContext, value: datetime | None, zone: str = "UTC"
) -> str | SafeString:
    """A moment in a zone, without its distance."""
    return "" if value is None else moment_html(value, zone, context["now"], with_relative=False)


@register.simple_tag
def badge(key: str, text: str = "") -> SafeString:
    """A state as a sign and a word."""
    return badge_html(key, text)


@register.simple_tag
def glyph(key: str) -> SafeString:
    """The sign of a state."""
    return glyph_html(key)


@register.simple_tag
def page_links(cl: Any) -> dict[str, Any]:
    """Where a list goes on, and where it came from."""
    number, last = cl.page_num, cl.paginator.num_pages
    return {
        "number": number,
        "last": last,
        "newer": cl.get_query_string({"p": number - 1}) if number > 1 else "",
        "older": cl.get_query_string({"p": number + 1}) if number < last else "",
    }


@register.inclusion_tag("admin/scheduler_app/banner.html", takes_context=True)
def scheduler_banner(context: RequestContext) -> dict[str, Any]:
    """A warning while no node fires jobs; about the nodes only to those who may see them."""
    pulse = overview.alarm_for(context.get("request"))
    sees_nodes = pulse is not None and overview.may_see(context["request"].user, "node")
    return {"pulse": pulse, "sees_nodes": sees_nodes}


@register.inclusion_tag("admin/scheduler_app/overview.html", takes_context=True)
def scheduler_overview(context: RequestContext) -> dict[str, Any]:
    """What happens now, as far as the user may see it."""
    return {"request": context["request"], **front_page(context["request"])}
