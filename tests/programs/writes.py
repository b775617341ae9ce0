"""Rows to begin with, and writes, as code."""

from __future__ import annotations

from collections.abc import Callable

from tests.programs import orm
from tests.programs.constants import KEYS, TEXTS, UUIDS, WORDS, Chance

FIELDS: dict[str, dict[str, str]] = {
    "Writer": {"name": "text", "slug": "slug", "mentor_id": "key or null", "visits": "int"},
    "Label": {"parent_id": "word or null"},
    "Badge": {"owner_id": "key or null", "code": "text"},
    "Post": {
        "writer_id": "key",
        "editor_id": "key or null",
        "slug": "slug",
        "rank": "int",
        "hidden": "bool",
    },
    "Remark": {
        "post_id": "key",
        "badge_id": "uuid or null",
        "label_id": "word or null",
        "parent_id": "key or null",
        "by_id": "slug or null",
        "text": "text",
        "size": "int",
    },
}
COPY_LABELS = (
    "INSERT INTO programs_post_labels (post_id, label_id)"
    " SELECT post_id, %s FROM programs_remark WHERE id = %s"
)
COUNT_REMARKS = (
    "UPDATE programs_post SET rank ="
    " (SELECT COUNT(*) FROM programs_remark r WHERE r.post_id = programs_post.id)"
)
KEY_NAMES = {"Label": "word"}
KEY_KINDS = {"Writer": "key", "Label": "word", "Badge": "uuid", "Post": "key", "Remark": "key"}
REQUIRED = {
    "Writer": ["name", "slug"],
    "Label": [],
    "Badge": ["code"],
    "Post": ["writer_id", "slug", "rank"],
    "Remark": ["post_id", "text"],
}


def value(chance: Chance, kind: str) -> str:
    """Return a value of a field's kind."""
    kind, _, null = kind.partition(" or ")
    if null and chance.is_(0.25):
        return "None"
    return chance.constant(kind)


def values(chance: Chance, model: str, *, all_of_them: bool = False) -> str:
    """Return some fields with values, as arguments."""
    fields = FIELDS[model]
    chosen = list(fields) if all_of_them else chance.shape.sample(sorted(fields), 1)
    if not all_of_them and chance.is_(0.25):
        chosen = sorted({*chosen, chance.among(*fields)})
    return ", ".join(f"{name}={value(chance, fields[name])}" for name in chosen)


def rows(chance: Chance) -> list[str]:
    """Return the statements that make the rows of each table."""
    made = []
    for model, keys in (
        ("Label", [repr(word) for word in WORDS[:4]]),
        ("Writer", [str(key) for key in list(KEYS)[:5]]),
        ("Badge", [f"uuid({number})" for number in list(UUIDS)[:4]]),
        ("Post", [str(key) for key in KEYS]),
        ("Remark", [str(key) for key in KEYS]),
    ):
        made += [
            f"on({model}).create(pk={key}, {first_values(chance, model, index)})"
            for index, key in enumerate(keys)
        ]
    made += [f"one(Post, {n}).labels.add({chance.constant('word')})" for n in range(6)]
    return made


def first_values(chance: Chance, model: str, index: int) -> str:
    """Return values that are likely to fit the rows that are there."""
    if model == "Writer":
        slug = ("a", "b", "c", "A", "a-b")[index]
        mentor = "None" if index == 0 else chance.constants.choice(("None", str(index)))
        return f"name={chance.constant('text')}, slug={slug!r}, mentor_id={mentor}"
    if model == "Label":
        parent = "None" if index == 0 else chance.constants.choice(("None", repr(WORDS[index - 1])))
        return f"parent_id={parent}"
    if model == "Badge":
        owner = chance.constants.choice(("None", str(index + 1)))
        return f"owner_id={owner}, code={chance.constant('text')}"
    if model == "Post":
        draw = chance.constants.choice
        return (
            f"writer_id={draw('12345')}, editor_id={draw(('None', '1', '2', '3'))},"
            f" slug={draw(('a', 'b', 'c', 'A', '5'))!r}, rank={draw('0123')},"
            f" hidden={draw(('False', 'False', 'True'))}"
        )
    draw = chance.constants.choice
    parent = "None" if index == 0 else draw(("None", str(index)))
    return (
        f"post_id={draw('1234567')}, badge_id={draw(('None', 'uuid(1)', 'uuid(2)'))},"
        f" label_id={draw(('None', repr('a'), repr('b')))}, parent_id={parent},"
        f" by_id={draw(('None', repr('a'), repr('b')))}, text={draw(TEXTS)!r}, size={draw('012')}"
    )


def a_model(chance: Chance) -> str:
    return chance.weighted({"Post": 4, "Remark": 4, "Writer": 3, "Badge": 2, "Label": 2})


def a_row(chance: Chance, model: str) -> str:
    """Return the code of one row that is there."""
    return f"one({model}, {chance.constants.randrange(6)})"


def some_rows(chance: Chance, model: str) -> str:
    """Return a queryset of few rows, or of many."""
    own_key = f"on({model}).filter(pk={a_row(chance, model)}.pk)"
    return chance.among(
        own_key,
        own_key,
        f"on({model}).exclude(pk={a_row(chance, model)}.pk)",
        f"on({model}).filter({orm.own(chance, model)})",
        f"on({model}).filter({orm.own(chance, model)})",
        f"on({model}).filter(pk={chance.constant(KEY_KINDS[model])})",
        f"on({model}).filter(pk__in={chance.constants_of(KEY_KINDS[model])})",
        f"on({model}).filter({orm.anywhere(chance, model)})",
        f"on({model}).all()",
    )


# Kinds of writes


def create(chance: Chance) -> str:
    model = a_model(chance)
    key = chance.constant(KEY_KINDS[model])
    given = values(chance, model, all_of_them=True)
    return chance.among(
        f"on({model}).create(pk={key}, {given})",
        f"on({model}).bulk_create([{model}(pk={key}, {given})])",
        f"on({model}).bulk_create([{model}(pk={key}, {given})], ignore_conflicts=True)",
        f"on({model}).update_or_create(pk={key}, defaults=dict({given}))",
        f"on({model}).get_or_create(pk={key}, defaults=dict({given}))",
        upsert(model, key, given),
    )


def upsert(model: str, key: str, given: str) -> str:
    unique, updated = [KEY_NAMES.get(model, "id")], list(FIELDS[model])[-2:]
    return (
        f"on({model}).bulk_create([{model}(pk={key}, {given})], update_conflicts=True,"
        f" unique_fields={unique}, update_fields={updated})"
    )


def save(chance: Chance) -> str:
    model = a_model(chance)
    field = chance.among(*FIELDS[model])
    given = f"{field}={value(chance, FIELDS[model][field])}"
    return chance.among(
        f"change({a_row(chance, model)}, {given}).save()",
        f"change({a_row(chance, model)}, {values(chance, model)}).save()",
        f"change({a_row(chance, model)}, {given}).save(update_fields=['{field}'])",
    )


def save_unchanged(chance: Chance) -> str:
    return f"{a_row(chance, a_model(chance))}.save()"


def update(chance: Chance) -> str:
    model = a_model(chance)
    return f"{some_rows(chance, model)}.update({values(chance, model)})"


def move(chance: Chance) -> str:
    """Move rows between slices by what is in the row."""
    return chance.among(
        f"{some_rows(chance, 'Post')}.update(rank=F('rank') + 1)",
        f"{some_rows(chance, 'Post')}.update(writer_id=F('editor_id'))",
        f"{some_rows(chance, 'Post')}.update(editor_id=F('writer_id'), writer_id=F('rank'))",
        f"{some_rows(chance, 'Remark')}.update(parent_id=F('parent__parent_id'))",
        f"{some_rows(chance, 'Remark')}.update(parent_id=F('size'), size=F('post_id'))",
        f"{some_rows(chance, 'Writer')}.update(visits=F('visits') + 1)",
        f"{some_rows(chance, 'Post')}.update(slug=Lower('slug'))",
        f"{some_rows(chance, 'Post')}.update(hidden=Q(rank__gt=1))",
    )


def hand_over(chance: Chance) -> str:
    """Let two rows exchange what is unique."""
    model, field = chance.among(("Writer", "slug"), ("Badge", "owner_id"), ("Post", "slug"))
    return f"exchange({a_row(chance, model)}, {a_row(chance, model)}, '{field}')"


def delete(chance: Chance) -> str:
    model = chance.weighted({"Remark": 5, "Badge": 3, "Post": 2, "Label": 2, "Writer": 1})
    key = chance.constant(KEY_KINDS[model])
    return chance.among(
        f"{a_row(chance, model)}.delete()",
        f"on({model}).filter(pk={key}).delete()",
        f"on({model}).filter({orm.own(chance, model)}).delete()",
        f"on({model}).filter(pk={key})._raw_delete(database)",
    )


def bulk_update(chance: Chance) -> str:
    model = a_model(chance)
    field = chance.among(*FIELDS[model])
    kind = FIELDS[model][field]
    changed = ", ".join(
        f"change({a_row(chance, model)}, {field}={value(chance, kind)})" for _ in range(2)
    )
    return f"on({model}).bulk_update([{changed}], ['{field}'])"


def many_to_many(chance: Chance) -> str:
    word, key = chance.constant("word"), chance.constant("key")
    post, label = a_row(chance, "Post"), a_row(chance, "Label")
    return chance.among(
        f"{post}.labels.add({word})",
        f"{post}.labels.add({word}, {chance.constant('word')})",
        f"{post}.labels.remove({word})",
        f"{post}.labels.set({chance.constants_of('word')})",
        f"{post}.labels.clear()",
        f"{label}.posts.add({key})",
        f"{label}.posts.set({chance.constants_of('key')})",
        f"{label}.posts.remove({key})",
        f"on(Post.labels.through).filter(post_id={key}).update(label_id={word})",
        f"on(Post.labels.through).filter(label_id={word}).update(post_id={key})",
        f"on(Post.labels.through).filter(post_id={key}).delete()",
        f"on(Post.labels.through).create(post_id={key}, label_id={word})",
    )


def related(chance: Chance) -> str:
    writer = a_row(chance, "Writer")
    return chance.among(
        f"{writer}.posts.add({a_row(chance, 'Post')})",
        f"{writer}.pupils.set([{a_row(chance, 'Writer')}])",
        f"{writer}.pupils.clear()",
        f"{writer}.edited_posts.set([{a_row(chance, 'Post')}, {a_row(chance, 'Post')}])",
        f"{a_row(chance, 'Post')}.remarks.add({a_row(chance, 'Remark')}, bulk=False)",
        f"{a_row(chance, 'Post')}.remarks.create(pk={chance.constant('key')}, text='new')",
        f"{a_row(chance, 'Badge')}.remarks.clear()",
    )


def raw(chance: Chance) -> str:
    """Return a write in SQL, through Django or past it."""
    key, other = chance.constant("key"), chance.constant("key")
    slug, word = chance.constant("slug"), chance.constant("word")
    statement, parameters = chance.among(
        ("UPDATE programs_post SET writer_id = %s WHERE writer_id = %s", [key, other]),
        ("UPDATE programs_post SET rank = rank + 1 WHERE slug = %s", [slug]),
        ("UPDATE programs_remark SET label_id = %s WHERE post_id = %s", [word, key]),
        ("UPDATE programs_remark SET post_id = %s", [key]),
        ("UPDATE programs_writer SET slug = %s WHERE id = %s", [slug, key]),
        ("DELETE FROM programs_remark WHERE post_id = %s", [key]),
        ("DELETE FROM programs_post_labels WHERE label_id = %s", [word]),
        ("DELETE FROM programs_post_labels", []),
        (
            COPY_LABELS,
            [word, key],
        ),
        (
            COUNT_REMARKS,
            [],
        ),
    )
    where = chance.among("execute", "execute", "execute_past_django")
    return f'{where}("{statement}", [{", ".join(parameters)}])'


def change_key(chance: Chance) -> str:
    key, other = chance.constant("key"), chance.constant("key")
    return chance.among(
        f"on(Remark).filter(pk={key}).update(id={other})",
        f"on(Post).filter(pk={key}).update(id={other})",
        f"on(Post.labels.through).filter(post_id={key}).update(id=F('id') + 100)",
        f"on(Badge).filter(pk={chance.constant('uuid')}).update(id={chance.constant('uuid')})",
        f"on(Label).filter(pk={chance.constant('word')}).update(word={chance.constant('word')})",
        f"change({a_row(chance, 'Remark')}, pk={key}).save()",
        "on(Remark).update(id=F('id') + 100)",
    )


def replace(chance: Chance) -> str:
    """Return a write that takes the place of rows: REPLACE, ON CONFLICT, TRUNCATE."""
    key, slug, writer = chance.constant("key"), chance.constant("slug"), chance.constant("key")
    post = f"[{key}, {writer}, {slug}]"
    columns = "programs_post (id, writer_id, slug, rank, hidden) VALUES (%s, %s, %s, 1, FALSE)"
    return chance.among(
        f'execute("REPLACE INTO {columns}", {post})',
        f'execute("INSERT INTO {columns} ON CONFLICT (writer_id, slug) DO UPDATE SET rank = 2",'
        f" {post})",
        f'execute("INSERT INTO {columns} ON CONFLICT (id) DO UPDATE SET slug = excluded.slug",'
        f" {post})",
        'execute("TRUNCATE programs_remark CASCADE", [])',
        'execute("TRUNCATE TABLE programs_post_labels", [])',
        "on(Remark).all().delete()",
        'execute("DELETE FROM programs_remark", [])',
        f'execute_many("UPDATE programs_post SET rank = %s WHERE id = %s", [[1, {key}], [2, 3]])',
    )


KINDS: dict[Callable[[Chance], str], int] = {
    create: 8,
    save: 8,
    save_unchanged: 3,
    update: 8,
    move: 5,
    hand_over: 3,
    delete: 5,
    bulk_update: 3,
    many_to_many: 6,
    related: 4,
    raw: 5,
    change_key: 2,
    replace: 2,
}


def write(chance: Chance) -> str:
    """Return one write; some are in a transaction with others, or are rolled back."""
    made = chance.shape.choices(list(KINDS), list(KINDS.values()))[0](chance)
    how = chance.weighted({"alone": 16, "together": 2, "rolled back": 1, "savepoint": 1})
    if how == "alone":
        return made
    second = chance.shape.choices(list(KINDS), list(KINDS.values()))[0](chance)
    if how == "together":
        return f"with together():\n    {made}\n    check()\n    {second}"
    if how == "rolled back":
        return f"with rolled_back():\n    {made}\n    check()"
    return (
        f"with together():\n    {made}\n    with rolled_back():\n        {second}\n        check()"
    )
