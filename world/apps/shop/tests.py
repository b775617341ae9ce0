"""Tests by a user who knows Django's tests, but not how the cache works."""

import time

from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from shop.cached_functions import computed, product_names, square
from shop.factories import make_order, make_product
from shop.models import Order, Product

from cachelayers.testing import assert_cached, assert_computes, assert_invalidated_by, caching


class FunctionTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.tea = Product.objects.create(name="tea")

    def test_a_cached_function_sees_what_the_test_writes(self):
        self.assertEqual(product_names(), ["tea"])

        Product.objects.create(name="cake")
        self.assertEqual(product_names(), ["cake", "tea"])

        Product.objects.filter(pk=self.tea.pk).update(name="green tea")
        self.assertEqual(product_names(), ["cake", "green tea"])

    def test_nothing_of_another_test_is_left(self):
        self.assertEqual(product_names(), ["tea"])


class CachingTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.tea = make_product(name="tea")

    def setUp(self):
        self.enterContext(caching())

    def test_a_value_is_kept_until_its_row_changes(self):
        with assert_computes(1), self.assertNumQueries(1):
            self.assertEqual([product_names(), product_names()], [["tea"]] * 2)
        assert_cached(product_names)
        make_order()
        with assert_invalidated_by(product_names):
            make_product(name="cake")
        self.assertEqual([product_names(), product_names()], [["cake", "tea"]] * 2)

    def test_a_page_is_made_of_values_that_are_kept(self):
        with self.assertNumQueries(1):
            for _ in range(3):
                self.assertContains(self.client.get("/shop/names/"), "tea")
        with assert_invalidated_by(product_names):
            Product.objects.update(name="green tea")
        with assert_computes(1):
            for _ in range(3):
                self.assertContains(self.client.get("/shop/names/"), "green tea")

    def test_each_test_begins_without_values(self):
        with assert_computes(2):
            product_names()
            square(7)


class PageTests(TestCase):
    def setUp(self):
        cache.clear()
        self.ann = get_user_model().objects.create_user("ann")
        self.bob = get_user_model().objects.create_user("bob")

    def test_a_page_without_a_cache_makes_its_own_queries_only(self):
        with self.assertNumQueries(1):
            self.assertContains(self.client.get("/shop/plain/"), "0 products")

    def test_a_page_without_a_cache_makes_its_own_queries_only_after_writes(self):
        Product.objects.create(name="tea")
        with self.assertNumQueries(1):
            self.assertContains(self.client.get("/shop/plain/"), "1 products")

    def test_each_sees_orders_of_his_own(self):
        Order.objects.create(owner=self.ann, product=Product.objects.create(name="tea"))
        Order.objects.create(owner=self.bob, product=Product.objects.create(name="cake"))

        for _ in range(2):
            for user, name in ((self.ann, "[tea]"), (self.bob, "[cake]")):
                self.client.force_login(user)
                self.assertEqual(self.client.get("/shop/orders/").content.decode().strip(), name)

    def test_a_page_shows_what_was_saved(self):
        tea = Product.objects.create(name="tea")
        self.assertContains(self.client.get("/shop/names/"), "tea")
        tea.name = "cake"
        tea.save()
        self.assertContains(self.client.get("/shop/names/"), "cake")


class CommittedTests(TransactionTestCase):
    def test_a_value_is_kept_until_a_row_changes(self):
        Product.objects.create(name="tea")
        self.compute_until_kept()
        computed.clear()

        self.assertEqual([product_names() for _ in range(3)], [["tea"]] * 3)
        self.assertEqual(computed, [])
        Product.objects.update(name="cake")
        self.assertEqual(product_names(), ["cake"])

    def compute_until_kept(self):
        """Compute until it is cached: at once, unless another test has a transaction open."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            computed.clear()
            product_names()
            if not computed:
                return
        self.fail("The value is computed each time.")

    def test_a_value_is_kept(self):
        cache.set("greeting", "hello")
        self.assertEqual(cache.get("greeting"), "hello")


class PureTests(SimpleTestCase):
    def test_a_function_that_reads_no_database_needs_none(self):
        self.assertEqual([square(7), square(7)], [49, 49])
        with caching(), assert_computes(1):
            self.assertEqual([square(7), square(7)], [49, 49])
