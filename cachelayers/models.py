"""The table that holds entries. Written by backends.database, never through the ORM."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    BigIntegerField = models.BigIntegerField[int, int]
else:
    BigIntegerField = models.BigIntegerField


class HashField(BigIntegerField):
    """A signed 64-bit hash as primary key.

    On SQLite its type is exactly ``integer``: only so is the column the row id itself, and the
    table one B-tree without a second index for its key.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return ``integer`` on SQLite and the 64-bit integer of every other database."""
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


class Entry(models.Model):
    """One cached value with its key and times. Columns in the order in which they are read."""

    id = HashField(_("id"), primary_key=True, help_text=_("Hash of cache alias and key."))
    full_key = models.BinaryField(_("key"), help_text=_("Cache alias, NUL, made key; in UTF-8."))
    expires = models.BigIntegerField(_("expires"), help_text=_("Milliseconds since 1970."))
    used = models.BigIntegerField(
        _("used"),
        help_text=_("When it was written or last seen to be read; milliseconds since 1970."),
    )
    format = models.SmallIntegerField(
        _("format"), help_text=_("What the value is; see cachelayers.entries.values.")
    )
    number = models.BigIntegerField(_("number"), null=True, help_text=_("A whole number as it is."))
    # Last, so that SQLite reads the columns before it without following a long value's pages.
    data = models.BinaryField(_("data"), null=True, help_text=_("Every value but a whole number."))

    class Meta:
        db_table = "cachelayers_entry"
        verbose_name = _("cache entry")
        verbose_name_plural = _("cache entries")
        # Entries are cleared through their cache, never edited one by one.
        default_permissions: ClassVar = ("view", "delete")

    def __str__(self) -> str:
        return bytes(self.full_key).decode("utf-8", "backslashreplace").replace("\0", ": ", 1)
