"""A library: keys of every kind, a chain of foreign keys, many-to-many, a parent and its child."""

from __future__ import annotations

import uuid
from typing import Any

from django.apps.registry import Apps
from django.db import models
from django.utils.functional import cached_property

from cachelayers import invalidates


class Author(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Subject(models.Model):
    word = models.CharField(max_length=50, primary_key=True)

    def __str__(self) -> str:
        return self.word


@invalidates("new books")
class Book(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    shelf = models.IntegerField(default=0)
    subjects = models.ManyToManyField(Subject, related_name="books")

    def __str__(self) -> str:
        return self.title

    @cached_property
    def loud_title(self) -> str:
        return self.title.upper()


class Place(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Branch(Place):
    rooms = models.IntegerField(default=1)


class Card(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    holder = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.holder


class MaskedNumber(models.IntegerField):  # type: ignore[type-arg] # the class takes none
    """A number that addresses do not give away: Python knows it otherwise than the database."""

    MASK = 0x5A5A

    def from_db_value(self, value: int | None, *args: object) -> int | None:
        return None if value is None else value ^ self.MASK

    def get_prep_value(self, value: Any) -> int | None:
        return None if value is None else int(value) ^ self.MASK


class Loan(models.Model):
    number = MaskedNumber(primary_key=True)
    reader = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.reader


class Essay(models.Model):
    """With a keyed column of every kind, and some that are none."""

    author = models.ForeignKey(Author, on_delete=models.CASCADE, null=True, related_name="essays")
    uid = models.UUIDField(unique=True, default=uuid.uuid4)
    slug = models.SlugField(unique=True)
    shelf = models.IntegerField(default=0, db_index=True)
    title = models.CharField(max_length=50, default="")
    notes = models.JSONField(default=dict)
    scan = models.BinaryField(default=b"")
    weight = models.FloatField(default=0)
    written = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.slug


class Title(models.Model):
    """A row of a view, which a test makes."""

    title = models.CharField(max_length=50)

    class Meta:
        apps = Apps()  # of its own: commands that go through all models would look for the view
        app_label = "library"
        managed = False
        db_table = "library_title_view"

    def __str__(self) -> str:
        return self.title


class Untracked(models.Model):
    """The one table that invalidates nothing."""

    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name
