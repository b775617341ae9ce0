"""The shop's URLs."""

from django.urls import path
from shop import views

urlpatterns = [
    path("plain/", views.plain),
    path("names/", views.names),
    path("orders/", views.orders),
]
