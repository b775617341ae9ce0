"""The same tests with pytest."""

import pytest
from django.core.cache import caches
from shop.cached_functions import product_names, square
from shop.factories import make_product
from shop.models import Product

from cachelayers.testing import assert_computes, assert_invalidated_by


@pytest.mark.django_db
def test_a_cached_function_sees_what_the_test_writes():
    Product.objects.create(name="tea")
    assert product_names() == ["tea"]
    Product.objects.update(name="cake")
    assert product_names() == ["cake"]


@pytest.mark.django_db
def test_nothing_of_another_test_is_left():
    assert product_names() == []


@pytest.mark.django_db
def test_a_page_without_a_cache_makes_its_own_queries_only(client, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert client.get("/shop/plain/").content == b"0 products"


@pytest.mark.django_db(transaction=True)
def test_a_row_that_was_committed_is_seen():
    Product.objects.create(name="tea")
    assert [product_names(), product_names()] == [["tea"], ["tea"]]
    Product.objects.update(name="cake")
    assert product_names() == ["cake"]


@pytest.mark.django_db
def test_a_value_is_kept_until_its_row_changes(caching, django_assert_num_queries):
    make_product(name="tea")
    with assert_computes(1), django_assert_num_queries(1):
        assert [product_names(), product_names()] == [["tea"], ["tea"]]
    with assert_invalidated_by(product_names):
        make_product(name="cake")
    assert product_names() == ["cake", "tea"]


def test_the_block_begins_within_the_transaction(caching, db):
    make_product(name="tea")
    with assert_computes(1):
        assert [product_names(), product_names()] == [["tea"], ["tea"]]


@pytest.mark.parametrize("visitor", ["first", "second"])
def test_a_test_finds_nothing_of_another_in_memory(visitor):
    assert caches["memory"].get("visitor") is None
    caches["memory"].set("visitor", visitor)


def test_a_function_that_reads_no_database_is_kept(caching):
    with assert_computes(1):
        assert [square(9), square(9)] == [81, 81]


def test_a_function_that_reads_no_database_needs_none():
    assert [square(8), square(8)] == [64, 64]
