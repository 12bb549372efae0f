"""The addresses of the SensorThings child: the service at the root, so that its base is `/v1.1`."""

from django.urls import include, path  # type: ignore[import-untyped]

urlpatterns = [path("", include("sensorthings.versions.v1_1.urls"))]
