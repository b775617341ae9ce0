"""The CMS's page: Markdown text with a slug."""

from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse

# Slugs that are URLs of other parts of the site.
TAKEN_SLUGS = frozenset({"admin", "airport", "country", "search", "static"})


def refuse_taken_slug(slug: str) -> None:
    if slug in TAKEN_SLUGS:
        raise ValidationError(
            "“%(slug)s” is the address of another part of the site. Choose another word.",
            params={"slug": slug},
        )


class Page(models.Model):
    slug = models.SlugField(
        "address",
        unique=True,
        validators=[refuse_taken_slug],
        help_text="The page is found at /address/.",
    )
    title = models.CharField(max_length=100)
    summary = models.CharField(
        max_length=200, blank=True, help_text="One sentence for search engines."
    )
    text = models.TextField(
        help_text="Markdown. HTML is allowed too; scripts and styles are taken out."
    )
    menu_position = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Its place in the menu. Leave it empty to keep it out."
    )
    updated = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("menu_position", "title")

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("pages:page", args=[self.slug])
