"""The Django app: what happens once when the project has loaded its settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class CacheLayersConfig(AppConfig):
    """Connects checks, the execute wrapper, units of work, statistics and the migrate signals."""

    name = "cachelayers"
    verbose_name = _("Cache")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cachelayers import auto_units, checks
        from cachelayers.statistics import writer
        from cachelayers.utils.switch import follow_setting

        self.connect_core()
        checks.register_all()
        auto_units.connect_all()
        writer.connect()
        follow_setting()

    def connect_core(self) -> None:
        """Connect what keeps cached values correct: invalidation, and the tables' own options."""
        from cachelayers.backends import apply_storage_options, remember_database_names
        from cachelayers.invalidation import (
            receive_plain_get,
            receive_post_migrate,
            receive_pre_migrate,
            wrap_all_connections,
        )
        from cachelayers.utils.captures import listen_to_plain_gets

        remember_database_names()
        wrap_all_connections()
        listen_to_plain_gets(receive_plain_get)
        post_migrate.connect(
            apply_storage_options,
            sender=self,
            dispatch_uid="cachelayers.apply_storage_options",
        )
        pre_migrate.connect(
            receive_pre_migrate, sender=self, dispatch_uid="cachelayers.pre_migrate"
        )
        post_migrate.connect(
            receive_post_migrate, sender=self, dispatch_uid="cachelayers.post_migrate"
        )
