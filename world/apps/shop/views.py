"""The shop's pages."""

from django.http import HttpResponse
from django.shortcuts import render
from shop.cached_functions import product_names
from shop.models import Order, Product


def plain(request):
    return HttpResponse(f"{Product.objects.count()} products")


def names(request):
    return HttpResponse(", ".join(product_names()))


def orders(request):
    return render(request, "shop/orders.html", {"orders": Order.objects.filter(owner=request.user)})
