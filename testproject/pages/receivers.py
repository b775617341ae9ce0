"""Leave the old pages behind when one changes. Connected by the app."""

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from testproject.pages import keys
from testproject.pages.models import Page


@receiver([post_save, post_delete], sender=Page)
def renew_cms(sender: object, **details: object) -> None:
    keys.cms.renew_on_commit()
