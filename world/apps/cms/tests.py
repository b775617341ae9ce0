"""Published pages are shown, and no others."""

from cms.models import ArticlePage
from django.conf import settings
from django.test import TransactionTestCase
from wagtail.coreutils import get_supported_content_language_variant
from wagtail.models import Locale, Page, Site


class ArticleTests(TransactionTestCase):
    def setUp(self):
        language = get_supported_content_language_variant(settings.LANGUAGE_CODE)
        Locale.objects.get_or_create(language_code=language)
        root = Page.get_first_root_node() or Page.add_root(title="Root", slug="root")
        self.home = root.add_child(instance=ArticlePage(title="Home", slug="start", body="Hello"))
        self.article = self.home.add_child(
            instance=ArticlePage(title="Tea", slug="tea", body="green")
        )
        self.other = self.home.add_child(
            instance=ArticlePage(title="Cake", slug="cake", body="sweet")
        )
        Site.objects.update_or_create(
            hostname="localhost", defaults={"root_page": self.home, "is_default_site": True}
        )

    def shown(self, slug="tea"):
        return self.client.get(f"/{slug}/").content.decode().split("\n")[0]

    def test_each_page_shows_itself(self):
        for _ in range(2):
            self.assertEqual([self.shown(), self.shown("cake")], ["Tea: green", "Cake: sweet"])

    def test_what_is_published_is_shown_at_once(self):
        self.assertEqual(self.shown(), "Tea: green")
        self.article.body = "black"
        self.article.save_revision().publish()
        self.assertEqual(self.shown(), "Tea: black")

    def test_a_draft_and_its_preview_stay_with_the_editor(self):
        draft = ArticlePage.objects.get(pk=self.article.pk)
        draft.title, draft.body = "Secret", "draft"
        draft.save_revision()
        for _ in range(2):
            preview = draft.get_latest_revision_as_object()
            response = preview.make_preview_request()
            self.assertIn("Secret: draft", response.rendered_content)
            self.assertEqual(self.shown(), "Tea: green")

    def test_a_preview_shows_the_draft_after_the_page_was_shown(self):
        self.assertEqual(self.shown(), "Tea: green")
        draft = ArticlePage.objects.get(pk=self.article.pk)
        draft.title, draft.body = "Secret", "draft"
        draft.save_revision()
        preview = draft.get_latest_revision_as_object().make_preview_request()
        self.assertIn("Secret: draft", preview.rendered_content)
        self.assertEqual(self.shown(), "Tea: green")
