"""Addresses of the pages that belong to no one model; include them beside the admin, before it."""

from django.urls import path

from . import pages

app_name = "scheduler"
urlpatterns = [
    path("live/", pages.live_view, name="live"),
    path("failures/<slug:fingerprint>/", pages.failures_view, name="failures"),
    path("timeline/", pages.timeline_view, name="timeline"),
    path("agenda/", pages.agenda_view, name="agenda"),
    path("heat/", pages.heat_view, name="heat"),
]
