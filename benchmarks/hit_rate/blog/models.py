"""The tables of the blog."""

from __future__ import annotations

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)
    bio = models.TextField()
    last_seen = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    name = models.CharField(max_length=40)
    slug = models.SlugField(unique=True)

    def __str__(self) -> str:
        return self.name


class Post(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="posts")
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=120)
    body = models.TextField()
    published = models.DateTimeField(db_index=True)
    is_published = models.BooleanField(default=True)
    tags = models.ManyToManyField(Tag, related_name="posts")

    def __str__(self) -> str:
        return self.title


class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    name = models.CharField(max_length=80)
    text = models.TextField()
    created = models.DateTimeField()

    def __str__(self) -> str:
        return self.text
