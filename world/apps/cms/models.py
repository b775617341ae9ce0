"""The page."""

from django.db import models
from wagtail.models import Page


class ArticlePage(Page):
    body = models.TextField(blank=True)
    template = "cms/article.html"
