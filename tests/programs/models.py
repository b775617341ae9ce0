"""A journal: foreign keys to keys of each kind, slugs, unique and indexed columns, trees."""

from __future__ import annotations

from django.db import models


class Writer(models.Model):
    name = models.CharField(max_length=20)
    slug = models.SlugField(max_length=20, unique=True)
    mentor = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="pupils")
    visits = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Label(models.Model):
    word = models.CharField(max_length=20, primary_key=True)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")

    def __str__(self) -> str:
        return self.word


class Badge(models.Model):
    id = models.UUIDField(primary_key=True)
    owner = models.OneToOneField(Writer, on_delete=models.CASCADE, null=True)
    code = models.CharField(max_length=20, db_index=True)

    def __str__(self) -> str:
        return self.code


class Post(models.Model):
    writer = models.ForeignKey(Writer, on_delete=models.CASCADE, related_name="posts")
    editor = models.ForeignKey(
        Writer, on_delete=models.SET_NULL, null=True, related_name="edited_posts"
    )
    slug = models.SlugField(max_length=20)
    rank = models.IntegerField(db_index=True)
    hidden = models.BooleanField(default=False)
    labels = models.ManyToManyField(Label, related_name="posts")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["writer", "slug"], name="programs_slug_of_writer")
        ]
        indexes = [models.Index(fields=["hidden", "rank"], name="programs_shown")]

    def __str__(self) -> str:
        return self.slug


class Remark(models.Model):
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="remarks")
    badge = models.ForeignKey(Badge, on_delete=models.SET_NULL, null=True, related_name="remarks")
    label = models.ForeignKey(Label, on_delete=models.CASCADE, null=True, related_name="remarks")
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="replies")
    # By a column that is not the primary key.
    by = models.ForeignKey(
        Writer, on_delete=models.CASCADE, null=True, to_field="slug", related_name="remarks"
    )
    text = models.CharField(max_length=20)
    size = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.text
