"""The URLs."""

from django.contrib import admin
from django.urls import include, path
from people import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("hijack/", include("hijack.urls")),
    path("who/", views.who),
    path("api/", views.WhoView.as_view()),
]
