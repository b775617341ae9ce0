"""The Django app: what happens once when the project has loaded its settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class CacheLayersConfig(AppConfig):
    """Registers the system checks and keeps the table's storage options as the settings say."""

    name = "cachelayers"
    verbose_name = _("Cache")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect what listens."""
        from cachelayers import checks
        from cachelayers.backends.database import storage

        checks.register_all()
        post_migrate.connect(
            storage.apply_storage_options,
            sender=self,
            dispatch_uid="cachelayers.apply_storage_options",
        )
