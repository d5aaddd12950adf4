"""Addresses of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/scheduler_app/", include("scheduler_app.admin.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("scheduler_app.api.urls")),
]
