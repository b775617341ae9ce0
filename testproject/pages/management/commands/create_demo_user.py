"""`manage.py create_demo_user`: create a user for the demo's admin."""

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

NAME = PASSWORD = "demo"  # noqa: S105 (it is no secret: the demo prints it)


class Command(BaseCommand):
    help = (
        "Creates the superuser demo with the password demo, if there is none. Everybody knows "
        "this password: it is for the demo on 127.0.0.1 only, never for a site others can reach."
    )

    def handle(self, *args: object, **options: object) -> None:
        users = get_user_model()._default_manager
        if users.filter(username=NAME).exists():
            self.stdout.write(f"The user {NAME} is there already.")
            return
        users.create_superuser(username=NAME, password=PASSWORD)
        self.stdout.write(f"Created the superuser {NAME} with the password {PASSWORD}.")
        self.stdout.write(self.style.WARNING("For the demo on 127.0.0.1 only."))
