"""Slow functions, which are cached."""

from shop.models import Product

from cachelayers import cached

computed = []  # the calls that were not answered from the cache


@cached(timeout=300)
def product_names():
    computed.append("product_names")
    return list(Product.objects.order_by("name").values_list("name", flat=True))


@cached(timeout=300)
def square(number):
    computed.append("square")
    return number * number
