"""The columns by whose values rows are asked for, and the tags of their slices."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.apps.registry import Apps
from django.db import models

from cachelayers.invalidation.tags import (
    row_tag,
    slice_tag,
    table_instead_of_row,
    without_many_rows,
)
from cachelayers.invalidation.tracked import (
    KeyedColumn,
    KeyKind,
    TrackedTable,
    shared_table,
    tracked_table_of,
)

registry = Apps()


class Post(models.Model):
    uid = models.UUIDField(unique=True)
    slug = models.SlugField(db_index=False)
    long_slug = models.SlugField(max_length=200)
    loose = models.CharField(max_length=9, db_index=True, db_collation="nocase")
    code = models.CharField(max_length=9, db_column="the_code")
    votes = models.IntegerField(db_index=True)
    plain = models.IntegerField()
    shelf = models.IntegerField()
    row = models.IntegerField()
    is_new = models.BooleanField(db_index=True)
    written = models.DateTimeField(db_index=True)
    parent = models.ForeignKey("self", models.CASCADE, db_index=False)

    class Meta:
        apps = registry
        app_label = "keyed"
        indexes: ClassVar = [models.Index(fields=["-code", "written"], name="by_code")]
        constraints: ClassVar = [models.UniqueConstraint(fields=["shelf"], name="one_a_shelf")]
        unique_together: ClassVar = [("row", "written")]

    def __str__(self) -> str:
        return self.slug


class Named(models.Model):
    slug = models.SlugField(primary_key=True)
    post = models.OneToOneField(Post, models.CASCADE)

    class Meta:
        apps = registry
        app_label = "keyed"

    def __str__(self) -> str:
        return self.slug


def columns_of(model: Any, vendor: str) -> dict[str, KeyKind]:
    return {column.name: column.kind for column in tracked_table_of(model, vendor).columns}


INTEGERS = dict.fromkeys(["parent_id", "row", "shelf", "votes"], KeyKind.INTEGER)


def test_indexed_columns_foreign_keys_and_slugs_are_keyed() -> None:
    found = columns_of(Post, "sqlite")

    assert found == {
        **INTEGERS,
        "uid": KeyKind.UUID,
        "slug": KeyKind.TEXT,
        "the_code": KeyKind.TEXT,
    }
    assert list(found) == sorted(found)


def test_on_mysql_no_text_is() -> None:
    assert columns_of(Post, "mysql") == {**INTEGERS, "uid": KeyKind.UUID}
    assert tracked_table_of(Named, "mysql") == TrackedTable("keyed_named", None, None)


def test_the_primary_key_is_not_among_them() -> None:
    table = tracked_table_of(Named, "postgresql")

    assert (table.key_column, table.key_kind) == ("slug", KeyKind.TEXT)
    assert columns_of(Named, "postgresql") == {"post_id": KeyKind.INTEGER}


@pytest.mark.parametrize("table", ["with:colon", "t" * 101])
def test_a_table_whose_name_no_tag_can_hold_has_none(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Post._meta, "db_table", table)

    assert columns_of(Post, "sqlite") == {}


def test_two_models_of_one_table_have_the_columns_of_both() -> None:
    def table(**kinds: KeyKind) -> TrackedTable:
        columns = tuple(KeyedColumn(name, kind) for name, kind in kinds.items())
        return TrackedTable("t", "id", KeyKind.INTEGER, columns)

    one = table(a=KeyKind.INTEGER, c=KeyKind.TEXT)
    other = table(b=KeyKind.UUID, c=KeyKind.INTEGER)

    assert shared_table(one, other) == table(a=KeyKind.INTEGER, b=KeyKind.UUID)
    assert shared_table(one, TrackedTable("t", "number", KeyKind.INTEGER)) == TrackedTable(
        "t", None, None
    )


def test_too_many_slices_become_their_table() -> None:
    tags = [slice_tag("blog_comment", "post_id", str(number)) for number in range(100)]

    assert without_many_rows(tags) == tags
    assert tags[5] == "slice:blog_comment:post_id:5"
    assert without_many_rows([*tags, "key:a"]) == [*tags, "key:a"]
    assert without_many_rows([*tags, row_tag("blog_comment", "1")]) == ["table:blog_comment"]
    assert table_instead_of_row(slice_tag("t", "slug", "a:b")) == "table:t"
