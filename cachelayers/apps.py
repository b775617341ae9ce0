"""The Django app: what happens once when the project has loaded its settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class CacheLayersConfig(AppConfig):
    """Connects checks, noticing, units of work, statistics, and what follows a migrate."""

    name = "cachelayers"
    verbose_name = _("Cache")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect what listens."""
        from cachelayers import checks, openers
        from cachelayers.backends.database import files_of_tests, storage
        from cachelayers.computes import listen_to_plain_gets
        from cachelayers.invalidation import noticing, plain_gets, triggers
        from cachelayers.statistics import writing

        checks.register_all()
        files_of_tests.remember_names()
        noticing.watch_all_connections()
        listen_to_plain_gets(plain_gets.receive_plain_get)
        openers.open_units()
        writing.writer.connect()
        post_migrate.connect(
            storage.apply_storage_options,
            sender=self,
            dispatch_uid="cachelayers.apply_storage_options",
        )
        pre_migrate.connect(
            triggers.receive_pre_migrate, sender=self, dispatch_uid="cachelayers.pre_migrate"
        )
        post_migrate.connect(
            triggers.receive_post_migrate, sender=self, dispatch_uid="cachelayers.post_migrate"
        )
