"""Middlewares that know a user without a cookie, like those of an intranet."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class SomebodyMiddleware:
    """Logs everyone in at once."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> HttpResponseBase:
        request.user = self.user()
        return self._get_response(request)

    def user(self) -> object:
        return User(username="somebody")


class LazySomebodyMiddleware(SomebodyMiddleware):
    """Logs a user in when the user is read."""

    def user(self) -> object:
        return SimpleLazyObject(lambda: User(username="somebody"))


class NobodyMiddleware(SomebodyMiddleware):
    """Sets the user to None."""

    def user(self) -> object:
        return AnonymousUser()
