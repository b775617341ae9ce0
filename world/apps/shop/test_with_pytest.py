"""The same tests with pytest."""

import pytest
from shop.cached_functions import product_names, square
from shop.models import Product


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


def test_a_function_that_reads_no_database_needs_none():
    assert [square(8), square(8)] == [64, 64]
