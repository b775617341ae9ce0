"""The tables of entries, the log, statistics and warmers' runs, and proxies for admin screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    BigIntegerField = models.BigIntegerField[int, int]
else:
    BigIntegerField = models.BigIntegerField


class NothingToDump(models.Manager[Any]):
    """An empty manager. `dumpdata` reads each model's first manager.

    The contents of a cache and its log mean nothing in another database. `dumpdata --all` dumps
    them all the same; loading them only makes the log begin a new incarnation.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().none()


class HashField(BigIntegerField):
    """A signed 64-bit hash as primary key.

    On SQLite its type is exactly ``integer``: only then is the column the row id itself, and the
    table one B-tree without a second index for its key.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


class Entry(models.Model):
    """One cached value with its key and times. The columns are in the order of reading."""

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
    # Last: SQLite then reads the other columns without following a long value's pages.
    data = models.BinaryField(_("data"), null=True, help_text=_("Every value but a whole number."))

    dumped = NothingToDump()
    objects = models.Manager()

    class Meta:
        db_table = "cachelayers_entry"
        verbose_name = _("cache entry")
        verbose_name_plural = _("cache entries")
        # Entries are cleared through their cache, never edited.
        default_permissions: ClassVar = ("view", "delete")

    def __str__(self) -> str:
        return bytes(self.full_key).decode("utf-8", "backslashreplace").replace("\0", ": ", 1)


class Invalidation(models.Model):
    """One row of the log: a tag's data has changed."""

    position = models.BigIntegerField(
        _("position"),
        null=True,
        help_text=_(
            "PostgreSQL: id of the transaction. Elsewhere empty: there it is the row's id."
        ),
    )
    tag = models.CharField(_("tag"), max_length=255)
    at = models.BigIntegerField(
        _("at"), help_text=_("Milliseconds since 1970, by the clock of the database.")
    )

    dumped = NothingToDump()
    objects = models.Manager()

    class Meta:
        db_table = "cachelayers_invalidation"
        verbose_name = _("invalidation")
        verbose_name_plural = _("invalidations")
        default_permissions: ClassVar = ("view",)
        # Except on PostgreSQL, all positions are NULL, and the row's id, with which every index of
        # SQLite and InnoDB ends, is the position.
        indexes: ClassVar = [models.Index(fields=["tag", "position"], name="cachelayers_log_tag")]

    def __str__(self) -> str:
        return self.tag


class LogState(models.Model):
    """The one row that says which log this is and how far back it reaches."""

    incarnation = models.CharField(
        _("incarnation"), max_length=32, help_text=_("Changes when the log begins anew.")
    )
    floor = models.BigIntegerField(
        _("floor"), help_text=_("The position below which rows have been pruned.")
    )
    origin = models.CharField(
        _("origin"),
        max_length=200,
        db_default="",
        help_text=_("The server and database in which it began."),
    )

    dumped = NothingToDump()
    objects = models.Manager()

    class Meta:
        db_table = "cachelayers_logstate"
        verbose_name = _("state of the log")
        verbose_name_plural = _("states of the log")
        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return self.incarnation


class WarmerRun(models.Model):
    """The last run of one warmer, sitemap or list of URLs, or the progress of a running one.

    The next run replaces the row, so the table does not grow.
    """

    source = models.CharField(
        _("source"), max_length=64, unique=True, help_text=_("Digest of kind, name and shard.")
    )
    kind = models.CharField(_("kind"), max_length=10)
    name = models.TextField(_("name"))
    shard = models.CharField(_("shard"), max_length=20, blank=True)
    state = models.CharField(_("state"), max_length=12)
    token = models.CharField(
        _("token"), max_length=32, blank=True, help_text=_("Of the run that writes this row.")
    )
    host = models.CharField(_("host"), max_length=255, blank=True)
    process_space = models.CharField(
        _("process space"),
        max_length=64,
        blank=True,
        help_text=_("Tells containers of one name apart, whose process ids differ."),
    )
    process = models.BigIntegerField(_("process"), default=0, help_text=_("Its id on the host."))
    queued = models.BigIntegerField(_("queued"), null=True, help_text=_("Milliseconds since 1970."))
    started = models.BigIntegerField(
        _("started"), null=True, help_text=_("Milliseconds since 1970.")
    )
    ended = models.BigIntegerField(_("ended"), null=True, help_text=_("Milliseconds since 1970."))
    alive_until = models.BigIntegerField(
        _("alive until"),
        default=0,
        help_text=_("After which a run that has not said more is taken for dead."),
    )
    seconds = models.FloatField(
        _("seconds"), null=True, help_text=_("How long the last run took that has ended.")
    )
    total = models.IntegerField(_("total"), default=0)
    warmed = models.IntegerField(_("warmed"), default=0)
    already_warm = models.IntegerField(_("already warm"), default=0)
    failed = models.IntegerField(_("failed"), default=0)
    failures = models.JSONField(_("failures"), default=list)
    done = models.BinaryField(
        _("done"), null=True, help_text=_("What an interrupted run has warmed: 8 bytes each.")
    )

    dumped = NothingToDump()
    objects = models.Manager()

    class Meta:
        db_table = "cachelayers_warmerrun"
        verbose_name = _("run of a warmer")
        verbose_name_plural = _("runs of warmers")
        default_permissions: ClassVar = ("view",)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.name, self.shard)))


class Statistic(models.Model):
    """The counts of all processes for one cache, or one of its layers, in one minute.

    The columns after the first three are those of `utils.counters.Figures`, with times in
    microseconds.
    """

    minute = models.BigIntegerField(_("minute"), help_text=_("When it began; seconds since 1970."))
    cache = models.CharField(_("cache"), max_length=100)
    layer = models.CharField(
        _("layer"), max_length=100, help_text=_("Empty: the cache as a whole.")
    )
    hits = models.BigIntegerField(_("hits"), default=0)
    misses = models.BigIntegerField(_("misses"), default=0)
    sets = models.BigIntegerField(_("sets"), default=0)
    evictions = models.BigIntegerField(_("evictions"), default=0)
    errors = models.BigIntegerField(_("errors"), default=0)
    fresh = models.BigIntegerField(_("fresh values served"), default=0)
    stale = models.BigIntegerField(_("stale values served"), default=0)
    computed = models.BigIntegerField(_("values computed"), default=0)
    joined = models.BigIntegerField(_("waits for another thread"), default=0)
    waited = models.BigIntegerField(_("waits for another process"), default=0)
    saved_us = models.BigIntegerField(_("time saved, in microseconds"), default=0)
    computing_us = models.BigIntegerField(_("time of computing, in microseconds"), default=0)

    dumped = NothingToDump()
    objects = models.Manager()

    class Meta:
        db_table = "cachelayers_statistics"
        verbose_name = _("statistics of a minute")
        verbose_name_plural = _("statistics")
        default_permissions: ClassVar = ("view",)
        # Its index also serves queries by hour.
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["minute", "cache", "layer"], name="cachelayers_statistics_row"
            )
        ]

    def __str__(self) -> str:
        return f"{self.cache} {self.layer}".rstrip()


class Timing(models.Model):
    """The sampled cost of one query, function, view or recall in one hour."""

    hour = models.BigIntegerField(_("hour"), help_text=_("When it began; seconds since 1970."))
    kind = models.CharField(_("kind"), max_length=20)
    name = models.CharField(_("name"), max_length=255)
    place = models.CharField(_("place"), max_length=255, help_text=_("Which function ran it."))
    calls = models.BigIntegerField(_("calls"), default=0)
    total_us = models.BigIntegerField(_("time, in microseconds"), default=0)
    repeats = models.BigIntegerField(
        _("repeats"), default=0, help_text=_("Made again, before anything it reads had changed.")
    )
    repeated_us = models.BigIntegerField(_("time of repeats, in microseconds"), default=0)
    changed = models.BigIntegerField(
        _("changed"), default=0, help_text=_("Made again, after what it reads had changed.")
    )
    # The database's default, for processes of an older release that are still running.
    stored_bytes = models.BigIntegerField(
        _("bytes stored"), default=0, db_default=0, help_text=_("For cached values.")
    )
    tables = models.TextField(_("tables"), help_text=_("What it reads, separated by spaces."))

    dumped = NothingToDump()
    objects = models.Manager()

    class Meta:
        db_table = "cachelayers_timing"
        verbose_name = _("timing")
        verbose_name_plural = _("timings")
        default_permissions: ClassVar = ("view",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hour", "kind", "name"], name="cachelayers_timing_row")
        ]

    def __str__(self) -> str:
        return self.name


# Screens of the admin. Each has an entry in the admin's index, and permissions. They are proxies:
# for unmanaged models, dumpdata would read a table that does not exist.


class Overview(LogState):
    """The state of each layer, and its hits and misses."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = _("overview")
        default_permissions: ClassVar = ("view",)


class Invalidate(LogState):
    """The form to invalidate entries."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = _("invalidate")
        default_permissions: ClassVar = ()
        permissions: ClassVar = [
            ("invalidate_entries", "Can invalidate cached entries"),
            ("clear_caches", "Can clear caches"),
        ]


class Warmers(LogState):
    """The warmers and their runs."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = _("warmers")
        default_permissions: ClassVar = ("view",)
        permissions: ClassVar = [("run_warmers", "Can run warmers")]


class Log(LogState):
    """What was invalidated. Requires the permission to view invalidations."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = _("log")
        default_permissions: ClassVar = ()


class Entries(LogState):
    """What is stored. Requires the permission to view entries."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = _("entries")
        default_permissions: ClassVar = ()
        permissions: ClassVar = [("view_values", "Can view cached values")]


class Advice(LogState):
    """What the site spends its time on."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = _("advice")
        default_permissions: ClassVar = ("view",)
