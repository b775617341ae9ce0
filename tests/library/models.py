"""A library: keys of every kind, a chain of foreign keys, many-to-many, a parent and its child."""

from __future__ import annotations

import uuid

from django.db import models

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


class Untracked(models.Model):
    """The one table that invalidates nothing."""

    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name
