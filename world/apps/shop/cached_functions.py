"""What takes long to find out."""

from shop.models import Product

from cachelayers import cached

computed = []  # each call that was not answered from the cache


@cached(timeout=300)
def product_names():
    computed.append("product_names")
    return list(Product.objects.order_by("name").values_list("name", flat=True))


@cached(timeout=300)
def square(number):
    computed.append("square")
    return number * number
