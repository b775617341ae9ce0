"""Leave the old pages behind when an airport or a country changes. Connected by the app."""

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from testproject.airports import keys
from testproject.airports.models import Airport, Country


@receiver([post_save, post_delete], sender=Airport)
@receiver([post_save, post_delete], sender=Country)
def renew_atlas(sender: object, **details: object) -> None:
    keys.atlas.renew_on_commit()
