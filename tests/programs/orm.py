"""Queries as the ORM writes them, as code."""

from __future__ import annotations

from collections.abc import Callable

from tests.programs.constants import Chance

COLUMNS: dict[str, dict[str, str]] = {
    "Writer": {"pk": "key", "slug": "slug", "mentor_id": "key", "name": "text", "visits": "int"},
    "Label": {"pk": "word", "parent_id": "word"},
    "Badge": {"pk": "uuid", "owner_id": "key", "code": "text"},
    "Post": {
        "pk": "key",
        "writer_id": "key",
        "editor_id": "key",
        "slug": "slug",
        "rank": "int",
        "hidden": "bool",
    },
    "Remark": {
        "pk": "key",
        "post_id": "key",
        "badge_id": "uuid",
        "label_id": "word",
        "parent_id": "key",
        "by_id": "slug",
        "text": "text",
        "size": "int",
    },
}
FORWARD: dict[str, dict[str, str]] = {
    "Writer": {"mentor": "Writer"},
    "Label": {"parent": "Label"},
    "Badge": {"owner": "Writer"},
    "Post": {"writer": "Writer", "editor": "Writer"},
    "Remark": {
        "post": "Post",
        "badge": "Badge",
        "label": "Label",
        "parent": "Remark",
        "by": "Writer",
    },
}
BACKWARD: dict[str, dict[str, str]] = {
    "Writer": {
        "pupils": "Writer",
        "posts": "Post",
        "edited_posts": "Post",
        "badge": "Badge",
        "remarks": "Remark",
    },
    "Label": {"children": "Label", "posts": "Post", "remarks": "Remark"},
    "Badge": {"remarks": "Remark"},
    "Post": {"labels": "Label", "remarks": "Remark"},
    "Remark": {"replies": "Remark"},
}
# The foreign keys by which one model's rows refer to another's.
REFERENCES = [
    *(("Post", "writer_id", "Writer"), ("Post", "editor_id", "Writer")),
    *(("Remark", "post_id", "Post"), ("Remark", "badge_id", "Badge")),
    *(("Remark", "label_id", "Label"), ("Remark", "parent_id", "Remark")),
    *(("Writer", "mentor_id", "Writer"), ("Badge", "owner_id", "Writer")),
    ("Label", "parent_id", "Label"),
]
MODELS = tuple(COLUMNS)
LOOKUPS = {
    "exact": 50,
    "in": 20,
    "isnull": 8,
    "gt": 3,
    "lte": 3,
    "range": 2,
    "iexact": 3,
    "contains": 3,
    "own column": 4,
    "subquery": 5,
}
NOT_OF = {  # lookups that a kind of column has not, and the one instead
    ("uuid", "contains"): "exact",
    ("uuid", "iexact"): "exact",
    ("bool", "gt"): "exact",
    ("bool", "lte"): "exact",
    ("bool", "range"): "in",
    ("bool", "contains"): "exact",
    ("bool", "iexact"): "exact",
}


def condition(chance: Chance, model: str, path: str = "") -> str:
    """Return one lookup on a column, which `path` leads to."""
    column = chance.among(*COLUMNS[model])
    kind, name = COLUMNS[model][column], f"{path}{column}"
    lookup = chance.weighted(LOOKUPS)
    lookup = NOT_OF.get((kind, lookup), lookup)
    if lookup == "exact":
        return f"Q({name}={chance.constant(kind)})"
    if lookup == "in":
        return f"Q({name}__in={chance.constants_of(kind)})"
    if lookup == "isnull":
        return f"Q({name}__isnull={chance.among('True', 'False')})"
    if lookup == "range":
        return f"Q({name}__range=({chance.constant(kind)}, {chance.constant(kind)}))"
    if lookup == "own column":
        same = [one for one in COLUMNS[model] if COLUMNS[model][one] == kind]
        return f"Q({name}=F('{path}{chance.among(*same)}'))"
    if lookup == "subquery":
        return f"Q({name}__in={subquery(chance, kind)})"
    return f"Q({name}__{lookup}={chance.constant(kind)})"


def subquery(chance: Chance, kind: str) -> str:
    """Return a query whose one column is of a kind."""
    fitting = [(m, c) for m in MODELS for c, its in COLUMNS[m].items() if its == kind]
    model, column = chance.among(*fitting)
    negated = chance.among("filter", "filter", "exclude")
    return f"on({model}).{negated}({own(chance, model)}).values('{column}')"


def own(chance: Chance, model: str) -> str:
    """Return a lookup on the model's own columns."""
    return condition(chance, model)


def through(chance: Chance, model: str, relations: dict[str, dict[str, str]], depth: int) -> str:
    """Return a lookup through relations."""
    path = ""
    for _ in range(depth):
        name, model = chance.among(*relations[model].items())
        path += f"{name}__"
    return condition(chance, model, path)


BOTH = {model: {**FORWARD[model], **BACKWARD[model]} for model in MODELS}


def anywhere(chance: Chance, model: str) -> str:
    """Return a lookup on own columns or through relations."""
    return through(chance, model, BOTH, chance.among(0, 0, 0, 1, 1, 2))


def tree(chance: Chance, model: str, leaf: Callable[[Chance, str], str], depth: int = 2) -> str:
    """Return lookups joined by AND, OR, XOR and NOT."""
    how = chance.weighted({"&": 4, "|": 5, "~": 3, "^": 1, "leaf": 3}) if depth else "leaf"
    if how == "leaf":
        return leaf(chance, model)
    if how == "~":
        return f"~({tree(chance, model, leaf, depth - 1)})"
    first, second = (tree(chance, model, leaf, depth - 1) for _ in range(2))
    return f"({first} {how} {second})"


def queryset(chance: Chance, model: str) -> str:
    """Return any queryset."""
    filters = [
        f".{chance.among('filter', 'filter', 'exclude')}"
        f"({tree(chance, model, anywhere, chance.among(0, 0, 1, 2))})"
        for _ in range(chance.among(1, 1, 2))
    ]
    return f"on({model}){''.join(filters)}"


# Kinds of queries


def a_row(chance: Chance) -> str:
    model = chance.among(*MODELS)
    key = chance.constant(COLUMNS[model]["pk"])
    keys = chance.constants_of(COLUMNS[model]["pk"])
    return chance.among(
        f"rows(on({model}).filter(pk={key}))",
        f"rows(on({model}).filter(pk__in={keys}))",
        f"shown(on({model}).filter(pk={key}).first())",
        f"on({model}).filter(pk={key}).exists()",
        f"rows(on({model}).in_bulk({keys}).values())",
    )


def by_a_column(chance: Chance) -> str:
    model = chance.among(*MODELS)
    return f"rows(on({model}).filter({own(chance, model)}))"


def by_two_columns(chance: Chance) -> str:
    model = chance.among(*MODELS)
    between = chance.among(" & ", ").filter(")
    return f"rows(on({model}).filter({own(chance, model)}{between}{own(chance, model)}))"


def or_and_not(chance: Chance) -> str:
    model = chance.among(*MODELS)
    return f"rows(on({model}).filter({tree(chance, model, own, 2)}))"


def joined(chance: Chance) -> str:
    model = chance.among("Post", "Remark", "Badge")
    lookup = through(chance, model, FORWARD, chance.among(1, 1, 2))
    return f"rows(on({model}).filter({lookup}))"


def joined_backward(chance: Chance) -> str:
    model = chance.among(*MODELS)
    lookup = through(chance, model, BACKWARD, chance.among(1, 1, 2))
    distinct = chance.among("", ".distinct()")
    return f"rows(on({model}).filter({lookup}){distinct})"


def outer_joined(chance: Chance) -> str:
    model = chance.among(*MODELS)
    name = chance.among(*BOTH[model])
    lookup = through(chance, model, BACKWARD, 1)
    related = chance.among(*FORWARD[model])
    return chance.among(
        f"rows(on({model}).filter({name}__isnull={chance.among('True', 'False')}))",
        f"rows(on({model}).exclude({lookup}))",
        f"rows(on({model}).filter({own(chance, model)}).select_related('{related}'))",
        f"rows(on({model}).filter({lookup} | {own(chance, model)}).distinct())",
        f"rows(on({model}).filter({own(chance, model)}).values('pk', '{name}__pk'))",
        f"rows(on({model}).annotate(those=FilteredRelation('{name}', condition="
        f"{condition(chance, BOTH[model][name], name + '__')})).values('pk', 'those__pk'))",
    )


def with_subquery(chance: Chance) -> str:
    inner, column, outer = chance.among(*REFERENCES)
    selected = f"on({inner}).filter({column}=OuterRef('pk')).filter({own(chance, inner)})"
    ordered = f"{selected}.order_by('pk').values('pk')[:1]"
    conditions = own(chance, outer)
    return chance.among(
        f"rows(on({outer}).filter(Exists({selected})))",
        f"rows(on({outer}).filter({conditions}).filter(~Exists({selected})))",
        f"rows(on({outer}).filter(Exists({selected}) | {conditions}))",
        f"rows(on({outer}).filter({conditions}).annotate(one=Subquery({ordered})))",
        f"rows(on({outer}).filter({conditions}).annotate(has=Exists({selected})))",
        f"rows(on({outer}).filter(pk__in=on({inner}).filter({own(chance, inner)})"
        f".values('{column}')))",
        f"rows(on({outer}).exclude(pk__in=on({inner}).filter({own(chance, inner)}"
        f", {column}__isnull=False).values('{column}')))",
    )


def aggregated(chance: Chance) -> str:
    model = chance.among(*MODELS)
    name = chance.among(*BOTH[model])
    column = chance.among(*COLUMNS[model])
    lookup = tree(chance, model, anywhere, chance.among(0, 0, 1))
    inner = condition(chance, BOTH[model][name], f"{name}__")
    return chance.among(
        f"on({model}).filter({lookup}).count()",
        f"on({model}).filter({lookup}).exists()",
        f"on({model}).filter({lookup}).aggregate(n=Count('pk'), m=Count('{name}'))",
        f"rows(on({model}).filter({lookup}).annotate(n=Count('{name}')))",
        f"rows(on({model}).annotate(n=Count('{name}', filter={inner})).filter({lookup}))",
        f"rows(on({model}).annotate(n=Count('{name}')).filter({lookup}, n__gt=0))",
        f"rows(on({model}).filter({lookup}).values('{column}').annotate(n=Count('pk')))",
        f"rows(on({model}).filter({lookup}).annotate(which=Case(When({inner}, then=Value(1)),"
        " default=Value(0))).values('pk', 'which'))",
    )


def combined(chance: Chance) -> str:
    kind = chance.among("key", "slug", "word")
    fitting = [(m, c) for m in MODELS for c, its in COLUMNS[m].items() if its == kind]
    arms = []
    for _ in range(2):
        model, column = chance.among(*fitting)
        arms.append(f"on({model}).filter({anywhere(chance, model)}).values_list('{column}')")
    how = chance.weighted({"union": 5, "intersection": 1, "difference": 2})
    everything = ", all=True" if how == "union" and chance.is_(0.5) else ""
    return f"rows({arms[0]}.{how}({arms[1]}{everything}))"


def limited(chance: Chance) -> str:
    model = chance.among(*MODELS)
    first = chance.among(*COLUMNS[model])
    sign = chance.among("", "-")
    part = chance.among("[:2]", "[1:3]", "[:1]")
    lookup = chance.among(own, anywhere)(chance, model)
    column = chance.among(*COLUMNS[model])
    return chance.among(
        f"ordered(on({model}).filter({lookup}).order_by('{sign}{first}', 'pk'){part})",
        f"ordered(on({model}).order_by('{sign}{first}', 'pk'){part})",
        f"shown(on({model}).filter({lookup}).order_by('{sign}{first}', 'pk').first())",
        f"rows(on({model}).filter({lookup}).values_list('{column}').distinct())",
        f"rows(on({model}).filter(pk__in=list(on({model}).filter({lookup})"
        f".order_by('{sign}{first}', 'pk').values_list('pk', flat=True){part})))",
    )


def related(chance: Chance) -> str:
    model = chance.among(*MODELS)
    many = {name: to for name, to in BACKWARD[model].items() if name != "badge"}
    name = chance.among(*many)
    key = chance.constant(COLUMNS[model]["pk"])
    filtered = f"filter({own(chance, many[name])})"
    return chance.among(
        f"[rows(one.{name}.all()) for one in on({model}).filter(pk={key})]",
        f"[rows(one.{name}.{filtered}) for one in on({model}).filter(pk={key})]",
        f"rows(on({model}).filter({own(chance, model)}).prefetch_related('{name}'))",
        f"rows(on({model}).prefetch_related(Prefetch('{name}', on({many[name]}).{filtered})))",
        f"[one.{name}.count() for one in on({model}).filter(pk={key})]",
    )


def several(chance: Chance) -> str:
    first, second = chance.among(*MODELS), chance.among(*MODELS)
    return f"[rows({queryset(chance, first)}), {queryset(chance, second)}.count()]"


def anything(chance: Chance) -> str:
    return f"rows({queryset(chance, chance.among(*MODELS))})"


KINDS: dict[str, Callable[[Chance], str]] = {
    "rows by key": a_row,
    "one column": by_a_column,
    "two columns": by_two_columns,
    "OR and NOT": or_and_not,
    "joins": joined,
    "reverse joins": joined_backward,
    "LEFT JOINs": outer_joined,
    "subqueries": with_subquery,
    "aggregates": aggregated,
    "UNION": combined,
    "LIMIT": limited,
    "related": related,
    "several": several,
    "anything": anything,
}
