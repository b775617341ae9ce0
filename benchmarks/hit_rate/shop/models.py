"""The tables of the shop."""

from __future__ import annotations

from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    category = models.ForeignKey(Category, models.CASCADE, related_name="products")
    name = models.CharField(max_length=120)
    slug = models.SlugField(unique=True)
    description = models.TextField()
    cents = models.IntegerField()
    stock = models.IntegerField()
    is_active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name


class Review(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="reviews")
    stars = models.IntegerField()
    text = models.TextField()
    created = models.DateTimeField()

    def __str__(self) -> str:
        return self.text


class Customer(models.Model):
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name


class CartItem(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="cart")
    product = models.ForeignKey(Product, models.CASCADE)
    quantity = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "product"], name="once_in_a_cart")
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_id}"


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    placed = models.DateTimeField()
    cents = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.cents} at {self.placed}"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.CASCADE)
    quantity = models.IntegerField()
    cents = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_id}"
