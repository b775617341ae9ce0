"""Rows for tests."""

from itertools import count

from django.contrib.auth import get_user_model
from shop.models import Order, Product

numbers = count()


def make_product(**values):
    return Product.objects.create(**{"name": f"product {next(numbers)}", **values})


def make_order(**values):
    if "owner" not in values:
        values["owner"] = get_user_model().objects.create_user(f"owner {next(numbers)}")
    if "product" not in values:
        values["product"] = Product.objects.first() or make_product()
    return Order.objects.create(**values)
