"""The CMS as a Django app."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    name = "testproject.pages"
    label = "pages"
    verbose_name = "Pages"
