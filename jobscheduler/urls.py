"""Addresses of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from scheduler_app.api.metrics import MetricsView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/scheduler_app/", include("scheduler_app.admin.urls")),
    path("admin/", admin.site.urls),
    # Where Prometheus looks by itself.
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/v1/", include("scheduler_app.api.urls")),
]
