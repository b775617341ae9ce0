"""The demo's URLs, and a page whose template names missing files.

It starts the recording of renderings, because URLs are loaded before the first page.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import path

from testproject.settings import DATA_DIR
from testproject.urls import urlpatterns as demo_urlpatterns
from tests.browser.renders import note_renders

WITH_LOST_FILES = """{% extends "base.html" %}{% load cachelayers %}
{% block title %}Lost files{% endblock %}
{% block main %}
  <link rel="stylesheet" href="{% hashed_static 'site/lost.css' %}"
    integrity="{% static_integrity 'site/lost.css' %}">
  <script src="{% hashed_static '../settings.py' %}"></script>
  <h1>Still here</h1>
  <img src="{% hashed_static 'site/nowhere.png' %}" alt="nothing" width="10" height="10">
  <img src="{% hashed_static 'site/' %}" alt="nothing" width="10" height="10">
{% endblock %}"""


def show_lost_files(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Template(WITH_LOST_FILES).render(RequestContext(request)))


note_renders(DATA_DIR)
urlpatterns = [path("lost-files/", show_lost_files), *demo_urlpatterns]
