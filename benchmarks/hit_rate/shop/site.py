"""The pages and the writes of the shop, as a site's authors would write them."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

from django.db import transaction
from django.db.models import Avg, Count, F, Q, Sum
from django.db.models.signals import post_delete, post_save

from benchmarks.hit_rate.shop.models import (
    CartItem,
    Category,
    Customer,
    Order,
    OrderLine,
    Product,
    Review,
)
from benchmarks.hit_rate.workload import BEGIN, Forget, Read, Site, Zipf

CATEGORIES, PRODUCTS, CUSTOMERS = 20, 300, 100
FEATURED = (3, 5, 8, 13, 21, 34)
PRODUCT, IN_STOCK, STARS, REVIEWS = "product by slug", "in stock", "stars", "reviews of a product"
MENU, CATEGORY, LISTED = "menu of categories", "category by slug", "products of a category"
FRONT, CUSTOMER = "featured products", "customer by email"
CART, TOTAL = "cart of a customer", "total of a cart"
ORDERS, NUMBER = "orders of a customer", "number of orders"


class Shop(Site):
    def __init__(self) -> None:
        self.products, self.categories = Zipf(PRODUCTS), Zipf(CATEGORIES)
        self.customers = Zipf(CUSTOMERS, 0.8)
        self.pages = [
            (self.open_product, 45),
            (self.open_category, 20),
            (self.open_cart, 20),
            (self.open_history, 10),
            (self.open_front, 5),
        ]
        self.writes = [
            (self.put_in_cart, 45),
            (self.order, 30),
            (self.review, 15),
            (self.change_price, 7),
            (self.restock, 3),
        ]
        self.timeouts = {MENU: 300, LISTED: 60, FRONT: 60, IN_STOCK: 60}

    def create_rows(self, chance: Random) -> None:
        Category.objects.bulk_create(
            Category(pk=number, name=f"Category {number}", slug=f"category-{number}")
            for number in range(1, CATEGORIES + 1)
        )
        Product.objects.bulk_create(
            Product(
                pk=number,
                category_id=chance.randint(1, CATEGORIES),
                name=f"Product {number}",
                slug=f"product-{number}",
                description="As good as new. " * 10,
                cents=chance.randint(100, 10_000),
                stock=chance.randint(1, 100),
            )
            for number in range(1, PRODUCTS + 1)
        )
        Customer.objects.bulk_create(
            Customer(pk=number, email=f"customer-{number}@example.com", name=f"Customer {number}")
            for number in range(1, CUSTOMERS + 1)
        )
        Review.objects.bulk_create(
            Review(
                product_id=chance.randint(1, PRODUCTS),
                stars=chance.randint(1, 5),
                text="I would buy it again.",
                created=BEGIN - timedelta(seconds=1 + number),
            )
            for number in range(PRODUCTS * 2)
        )
        customers = range(1, CUSTOMERS + 1)
        CartItem.objects.bulk_create(
            CartItem(customer_id=customer, product_id=chance.randint(1, PRODUCTS), quantity=1)
            for customer in customers
        )
        orders = Order.objects.bulk_create(
            Order(customer_id=customer, placed=BEGIN - timedelta(days=day), cents=100)
            for customer in customers
            for day in (1, 2)
        )
        OrderLine.objects.bulk_create(
            OrderLine(order=order, product_id=chance.randint(1, PRODUCTS), quantity=1, cents=100)
            for order in orders
        )

    # Pages

    def open_product(self, chance: Random, read: Read) -> None:
        slug = f"product-{self.products.draw(chance)}"
        products = Product.objects.select_related("category")
        product = read(PRODUCT, slug, lambda: products.get(slug=slug))
        read(IN_STOCK, slug, Product.objects.filter(slug=slug, stock__gt=0).exists)
        reviews = Review.objects.filter(product=product)
        read(STARS, product.pk, lambda: reviews.aggregate(Avg("stars"), Count("pk")))
        read(REVIEWS, product.pk, lambda: list(reviews.order_by("-created")[:5]))

    def open_category(self, chance: Random, read: Read) -> None:
        slug = f"category-{self.categories.draw(chance)}"
        active = Count("products", filter=Q(products__is_active=True))
        menu = Category.objects.annotate(product_count=active).order_by("name")
        read(MENU, "", lambda: list(menu.all()))
        category = read(CATEGORY, slug, lambda: Category.objects.get(slug=slug))
        products = Product.objects.filter(category=category, is_active=True).order_by("name")
        read(LISTED, category.pk, lambda: list(products[:24]))

    def open_cart(self, chance: Random, read: Read) -> None:
        email = f"customer-{self.customers.draw(chance)}@example.com"
        customer = read(CUSTOMER, email, lambda: Customer.objects.get(email=email))
        items = CartItem.objects.filter(customer=customer)
        shown = items.select_related("product").order_by("pk")
        read(CART, customer.pk, lambda: list(shown.all()))
        cents = Sum(F("quantity") * F("product__cents"))
        read(TOTAL, customer.pk, lambda: items.aggregate(cents=cents))

    def open_history(self, chance: Random, read: Read) -> None:
        email = f"customer-{self.customers.draw(chance)}@example.com"
        customer = read(CUSTOMER, email, lambda: Customer.objects.get(email=email))
        orders = Order.objects.filter(customer=customer).order_by("-placed", "-pk")
        read(ORDERS, customer.pk, lambda: list(orders.prefetch_related("lines__product")[:10]))
        read(NUMBER, customer.pk, customer.orders.count)

    def open_front(self, chance: Random, read: Read) -> None:
        read(FRONT, "", lambda: Product.objects.in_bulk(FEATURED))

    # Writes

    def put_in_cart(self, chance: Random, now: datetime) -> None:
        item, is_new = CartItem.objects.get_or_create(
            customer_id=self.customers.draw(chance),
            product_id=self.products.draw(chance),
            defaults={"quantity": 1},
        )
        if not is_new:
            item.quantity += 1
            item.save()

    def order(self, chance: Random, now: datetime) -> None:
        """Order one product, and what is in the cart."""
        customer, product = self.customers.draw(chance), self.products.draw(chance)
        with transaction.atomic():
            items = list(CartItem.objects.filter(customer_id=customer).select_related("product"))
            bought = [(item.product, item.quantity) for item in items]
            bought.append((Product.objects.get(pk=product), 1))
            order = Order.objects.create(
                customer_id=customer,
                placed=now,
                cents=sum(one.cents * quantity for one, quantity in bought),
            )
            OrderLine.objects.bulk_create(
                OrderLine(order=order, product=one, quantity=quantity, cents=one.cents)
                for one, quantity in bought
            )
            for one, quantity in bought:
                Product.objects.filter(pk=one.pk).update(stock=F("stock") - quantity)
            CartItem.objects.filter(customer_id=customer).delete()

    def review(self, chance: Random, now: datetime) -> None:
        Review.objects.create(
            product_id=self.products.draw(chance),
            stars=chance.randint(1, 5),
            text=f"It came at {now}.",
            created=now,
        )

    def change_price(self, chance: Random, now: datetime) -> None:
        product = Product.objects.get(pk=self.products.draw(chance))
        product.cents += chance.randint(1, 100)
        product.save(update_fields=["cents"])

    def restock(self, chance: Random, now: datetime) -> None:
        Product.objects.filter(pk=self.products.draw(chance)).update(stock=F("stock") + 50)

    # By hand

    def connect(self, forget: Forget) -> None:
        def product_changed(instance: Product, **others: Any) -> None:
            forget(PRODUCT, instance.slug)
            forget(IN_STOCK, instance.slug)
            forget(LISTED, instance.category_id)

        def category_changed(instance: Category, **others: Any) -> None:
            forget(CATEGORY, instance.slug)
            forget(MENU, "")

        def review_changed(instance: Review, **others: Any) -> None:
            forget(STARS, instance.product_id)
            forget(REVIEWS, instance.product_id)

        def cart_changed(instance: CartItem, **others: Any) -> None:
            forget(CART, instance.customer_id)
            forget(TOTAL, instance.customer_id)

        def order_changed(instance: Order, **others: Any) -> None:
            forget(ORDERS, instance.customer_id)
            forget(NUMBER, instance.customer_id)

        for signal in (post_save, post_delete):
            signal.connect(product_changed, sender=Product, weak=False)
            signal.connect(category_changed, sender=Category, weak=False)
            signal.connect(review_changed, sender=Review, weak=False)
            signal.connect(cart_changed, sender=CartItem, weak=False)
            signal.connect(order_changed, sender=Order, weak=False)


SITE = Shop
