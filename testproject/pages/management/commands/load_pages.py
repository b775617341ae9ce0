"""`manage.py load_pages`: create the first pages of the CMS."""

from pathlib import Path

from django.core.management.base import BaseCommand

from testproject.pages.models import Page

CONTENT_DIR = Path(__file__).resolve().parents[2] / "content"
FIRST_PAGES = [
    ("about", "About", "A world atlas of airports, and the ground on which its cache is shown."),
    ("caching", "Caching", "What this site keeps in its cache, and how you can watch it."),
    ("markdown", "Writing pages", "How to write the pages of this site in Markdown."),
]


class Command(BaseCommand):
    help = "Creates the first pages of the CMS. A page that exists stays as it is, edits and all."

    def handle(self, *args: object, **options: object) -> None:
        for position, (slug, title, summary) in enumerate(FIRST_PAGES, start=1):
            _, is_new = Page.objects.get_or_create(
                slug=slug,
                defaults={
                    "title": title,
                    "summary": summary,
                    "text": (CONTENT_DIR / f"{slug}.md").read_text(encoding="utf-8"),
                    "menu_position": position,
                },
            )
            self.stdout.write(f"/{slug}/: {'created' if is_new else 'kept as it is'}")
