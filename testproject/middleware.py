"""The middleware of the site."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Everything comes from the site itself, and nothing is inline, so that a script in a text that
# passes the sanitiser cannot run. (Django 6.0 has a middleware for this, 5.2 has none.)
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

GetResponse = Callable[[HttpRequest], HttpResponse]


def content_security_policy(get_response: GetResponse) -> GetResponse:
    """Send the content security policy with every response."""

    def add_policy(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return add_policy
