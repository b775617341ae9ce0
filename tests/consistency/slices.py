"""Readers of a few rows each, while writers move rows between what they read.

Each write raises a number in its row. If the sums of all numbers are the same before and after a
recall, nothing has changed meanwhile, and the recalled answer is the one that is read now.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import Exists, F, OuterRef, Q

from cachelayers import recall, unit_of_work
from tests.consistency.findings import Found
from tests.consistency.writers import PAUSE_SECONDS, RollBack
from tests.programs.models import Label, Post, Remark, Writer
from tests.programs.running import empty

WRITERS, POSTS, REMARKS = 6, 24, 24
WORDS = ("a", "b", "c", "d")
ROLLED_BACK = 0.15
LEAST_PAUSE_SECONDS = 0.15  # between two writes: most recalls should meet none

Read = Callable[[str, int], Any]
Write = Callable[[str, random.Random], None]


# What is read


def posts_of(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(writer_id=writer_key(choice))
    return sorted(found.values_list("pk", "rank"))


def number_of_posts(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(Q(writer_id=writer_key(choice)) & ~Q(pk=1))
    return found.count()


def posts_by_slug(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(slug=f"post-{choice % POSTS}")
    return sorted(found.values_list("pk", "rank"))


def writer_by_slug(database: str, choice: int) -> Any:
    found = Writer.objects.using(database).filter(slug=slug_of(choice))
    return sorted(found.values_list("pk", "visits"))


def writers_by_slugs(database: str, choice: int) -> Any:
    slugs = [slug_of(choice), slug_of(choice + 1), "nobody"]
    found = Writer.objects.using(database).filter(slug__in=slugs)
    return sorted(found.values_list("slug", "pk", "visits"))


def remarks_on_posts_of(database: str, choice: int) -> Any:
    found = Remark.objects.using(database).filter(post__writer_id=writer_key(choice))
    return sorted(found.values_list("pk", "size", "post_id", "post__rank"))


def posts_of_label(database: str, choice: int) -> Any:
    links = Post.labels.through.objects.using(database).filter(label_id=WORDS[choice % len(WORDS)])
    return sorted(links.values_list("pk", "post__rank"))


def remarks_or_none(database: str, choice: int) -> Any:
    return rows(
        database,
        "SELECT p.id, p.rank, r.id, r.size FROM programs_post p LEFT JOIN programs_remark r"
        " ON r.post_id = p.id WHERE p.id = %s",
        post_key(choice),
    )


def posts_with_remarks(database: str, choice: int) -> Any:
    there = Remark.objects.filter(post_id=OuterRef("pk"), text="shown")
    found = Post.objects.using(database).filter(Exists(there), writer_id=writer_key(choice))
    with_sizes = found.values_list("pk", "rank", "remarks__pk", "remarks__size")
    return sorted(with_sizes, key=repr)


def posts_by_keys(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(pk__in=[post_key(choice), post_key(choice + 5)])
    return sorted(found.values_list("pk", "writer_id", "rank"))


def posts_of_several(database: str, choice: int) -> Any:
    keys = [writer_key(choice), writer_key(choice + 1)]
    found = Post.objects.using(database).filter(writer_id__in=keys)
    return sorted(found.values_list("pk", "writer_id", "rank"))


def remarks_on_some(database: str, choice: int) -> Any:
    posts = Post.objects.filter(writer_id=writer_key(choice)).values("pk")
    found = Remark.objects.using(database).filter(post_id__in=posts)
    return sorted(found.values_list("pk", "size", "post__rank"))


def posts_and_remarks(database: str, choice: int) -> Any:
    posts = Post.objects.using(database).filter(writer_id=writer_key(choice))
    remarks = Remark.objects.using(database).filter(post_id=post_key(choice))
    return sorted(
        posts.values_list("pk", "rank").union(remarks.values_list("pk", "size"), all=True)
    )


def two_arms(database: str, choice: int) -> Any:
    return rows(
        database,
        "SELECT id, rank FROM programs_post WHERE writer_id = %s"
        " UNION SELECT id, rank FROM programs_post WHERE id = %s",
        *(writer_key(choice), post_key(choice)),
    )


def shown_posts_of(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(writer_id=writer_key(choice), hidden=False)
    return sorted(found.values_list("pk", "rank"))


def hidden_or_remarked(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(
        Q(hidden=True, writer_id=writer_key(choice)) | Q(pk=post_key(choice))
    )
    return sorted(found.values_list("pk", "hidden", "rank"))


def visits_of(database: str, choice: int) -> Any:
    return Writer.objects.using(database).get(pk=writer_key(choice)).visits


def visits_of_post(database: str, choice: int) -> Any:
    found = Post.objects.using(database).filter(pk=post_key(choice)).select_related("writer")
    return [(post.rank, post.writer_id, post.writer.visits) for post in found]


def sums(database: str) -> Any:
    """Return numbers of which each write raises one."""
    return rows(
        database,
        "SELECT (SELECT SUM(rank) FROM programs_post), (SELECT SUM(size) FROM programs_remark),"
        " (SELECT SUM(visits) FROM programs_writer), MAX(id), COUNT(*) FROM programs_post_labels",
    )


def rows(database: str, statement: str, *parameters: Any) -> Any:
    with connections[database].cursor() as cursor:
        cursor.execute(statement, parameters)
        return sorted(map(list, cursor.fetchall()), key=repr)


# What is written


def move_post(database: str, chance: random.Random) -> None:
    posts = Post.objects.using(database).filter(pk=any_post(chance))
    posts.update(writer_id=any_writer(chance), rank=F("rank") + 1)


def move_post_by_save(database: str, chance: random.Random) -> None:
    post = Post.objects.using(database).select_for_update().get(pk=any_post(chance))
    post.writer_id, post.rank = any_writer(chance), post.rank + 1
    post.save()


def move_all_posts_of(database: str, chance: random.Random) -> None:
    execute(
        database,
        "UPDATE programs_post SET writer_id = %s, rank = rank + 1 WHERE writer_id = %s",
        *(any_writer(chance), any_writer(chance)),
    )


def exchange_slugs(database: str, chance: random.Random) -> None:
    first, second = sorted(chance.sample(range(1, WRITERS + 1), 2))
    chosen = Writer.objects.using(database).filter(pk__in=[first, second])
    one, two = chosen.select_for_update().order_by("pk")
    slugs = (two.slug, one.slug)
    for writer, slug in ((one, "between"), (two, slugs[1]), (one, slugs[0])):
        writer.slug, writer.visits = slug, writer.visits + 1
        writer.save()


def move_remark(database: str, chance: random.Random) -> None:
    remarks = Remark.objects.using(database).filter(pk=any_remark(chance))
    remarks.update(post_id=any_post(chance), size=F("size") + 1)


def change_labels(database: str, chance: random.Random) -> None:
    post = Post.objects.using(database).get(pk=any_post(chance))
    label = Label.objects.using(database).get(word=chance.choice(WORDS))
    if chance.random() < 0.3:
        post.labels.remove(label)
    else:
        post.labels.add(label)


def hide_post(database: str, chance: random.Random) -> None:
    posts = Post.objects.using(database).filter(pk=any_post(chance))
    posts.update(hidden=Q(hidden=False), rank=F("rank") + 1)


def count_visit(database: str, chance: random.Random) -> None:
    writers = Writer.objects.using(database).filter(pk=any_writer(chance))
    writers.update(visits=F("visits") + 1)


def execute(database: str, statement: str, *parameters: Any) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(statement, parameters)


MOVES: tuple[Write, ...] = (move_post, move_post_by_save, move_all_posts_of)
RELATIONS: tuple[Write, ...] = (move_post, *(move_remark, change_labels) * 2)
# By the name of the kind: what is read, and what is written.
SITES: dict[str, tuple[tuple[Read, ...], tuple[Write, ...]]] = {
    "moves": ((posts_of, number_of_posts), MOVES),
    "slugs": ((writer_by_slug, writers_by_slugs, posts_by_slug), (exchange_slugs, move_post)),
    "joins": (
        (remarks_on_posts_of, posts_of_label, remarks_or_none, posts_with_remarks),
        RELATIONS,
    ),
    "IN": ((posts_by_keys, posts_of_several, remarks_on_some), (*MOVES, move_remark)),
    "UNION": ((posts_and_remarks, two_arms), (*MOVES, move_remark)),
    "soft deletes": ((shown_posts_of, hidden_or_remarked), (hide_post, hide_post, move_post)),
    "counters": ((visits_of, visits_of_post, posts_of), (count_visit, count_visit, move_post)),
}


# Keys


def writer_key(choice: int) -> int:
    return 1 + choice % WRITERS


def post_key(choice: int) -> int:
    return 1 + choice % POSTS


def slug_of(choice: int) -> str:
    return f"writer-{choice % WRITERS}"


def any_writer(chance: random.Random) -> int:
    return chance.randint(1, WRITERS)


def any_post(chance: random.Random) -> int:
    return chance.randint(1, POSTS)


def any_remark(chance: random.Random) -> int:
    return chance.randint(1, REMARKS)


# Roles


def read(name: str, database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Recall until the end, and compare."""
    found = Found()
    while time.time() < end:
        shape, choice, is_hit = chance.choice(SITES[name][0]), chance.randrange(WRITERS), [True]

        def compute(shape: Any = shape, choice: int = choice, is_hit: list[bool] = is_hit) -> Any:
            is_hit.clear()
            return shape(database, choice)

        before = sums(database)
        with unit_of_work():
            key = f"{shape.__name__}:{database}:{choice}"
            value = recall(key, compute, timeout=None, using=store)
        now = shape(database, choice)
        if sums(database) == before:
            found.judge_same([shape.__name__, choice], now, value, bool(is_hit))
    return found.as_dict()


def write(
    name: str, database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Write until the end; some writes are rolled back."""
    writes = 0
    while time.time() < end:
        try:
            with transaction.atomic(database):
                for _ in range(chance.randint(1, 2)):
                    chance.choice(SITES[name][1])(database, chance)
                if chance.random() < ROLLED_BACK:
                    raise RollBack
            writes += 1
        except (RollBack, OperationalError):  # or a deadlock, or a lock that is not released
            pass
        time.sleep(max(PAUSE_SECONDS, LEAST_PAUSE_SECONDS) * chance.uniform(0, 2))
    return {"writes": writes}


def make_rows(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Make the rows."""
    empty(database)
    Label.objects.using(database).bulk_create(Label(word=word) for word in WORDS)
    Writer.objects.using(database).bulk_create(
        Writer(pk=writer_key(number), name="checked", slug=slug_of(number))
        for number in range(WRITERS)
    )
    Post.objects.using(database).bulk_create(
        Post(pk=post_key(number), writer_id=writer_key(number), slug=f"post-{number}", rank=1)
        for number in range(POSTS)
    )
    Remark.objects.using(database).bulk_create(
        Remark(pk=number + 1, post_id=post_key(number), text="shown", size=1)
        for number in range(REMARKS)
    )
    return {}


def delete_rows(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Delete the rows."""
    empty(database)
    return {}


ROLES: dict[str, Callable[..., dict[str, Any]]] = {
    **{f"read {name}": partial(read, name) for name in SITES},
    **{f"write {name}": partial(write, name) for name in SITES},
    "prepare slices": make_rows,
    "clean slices": delete_rows,
}
