"""Middlewares that know a visitor without a cookie, as those of an intranet do."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class SomebodyMiddleware:
    """Logs everybody in at once."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> HttpResponseBase:
        request.user = self.user()
        return self._get_response(request)

    def user(self) -> object:
        return User(username="somebody")


class LazySomebodyMiddleware(SomebodyMiddleware):
    """Logs in whoever is asked for."""

    def user(self) -> object:
        return SimpleLazyObject(lambda: User(username="somebody"))


class NobodyMiddleware(SomebodyMiddleware):
    """Says that there is no user."""

    def user(self) -> object:
        return AnonymousUser()
