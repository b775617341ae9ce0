"""A fragment is served until a row that it was made from changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.paginator import Paginator
from django.db import connection, transaction
from django.db.models import Count

from cachelayers import invalidate, unit_of_work
from tests.fragments.conftest import Counter, read_log
from tests.fragments.engines import JinjaTemplates, Templates
from tests.fragments.views import all_titles, check_tracked, rename, show_twice, view_of
from tests.library.models import Author, Book, Branch, Loan, Place, Subject, Title

Change = Callable[[Book], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda book: Book.objects.create(title="New", author=book.author),
        lambda book: Book.objects.filter(pk=book.pk).update(title="Updated"),
        lambda book: Book.objects.bulk_create([Book(title="Bulk", author=book.author)]),
        lambda book: book.delete(),
        lambda book: book.author.delete(),
        lambda book: connection.cursor().execute("UPDATE library_book SET title = 'Raw'"),
    ],
)
def test_rows_that_are_read_while_it_is_rendered_are_tracked(
    templates: Templates, book: Book, change: Change
) -> None:
    templates.write(page=templates.fragment(templates.show("titles"), "list"))
    before = show_twice(templates, titles=all_titles)

    change(book)
    after = templates.render("page", titles=all_titles)

    assert before == "Maps"
    assert after == all_titles() != before


def test_what_it_has_not_read_leaves_it_as_it_is(
    templates: Templates, book: Book, tick: Counter
) -> None:
    body = f"{templates.show('tick')}{templates.show('titles')}"
    templates.write(page=templates.fragment(body, "list"))
    show_twice(templates, titles=all_titles, tick=tick)
    tick.since()

    Subject.objects.create(word="sea")
    templates.render("page", titles=all_titles, tick=tick)

    assert tick.since() == 0


# Rows in its arguments


def test_an_instance_among_its_arguments_is_tracked_though_nothing_is_read(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment("{{ book.title }}", "card", "book"))
    show_twice(templates, book=Book.objects.get())

    Book.objects.update(title="Atlas")

    assert templates.render("page", book=Book.objects.get()) == "Atlas"


def test_an_instance_whose_key_the_database_writes_in_another_way_is_tracked(
    templates: Templates, loan: Loan
) -> None:
    templates.write(page=templates.fragment("{{ loan.reader }}", "card", "loan"))

    def lend_to_the_next() -> None:
        Loan.objects.update(reader="Bea")

    check_tracked(view_of(templates, Loan.objects.get, "loan"), lend_to_the_next, "Ann", "Bea")


@pytest.fixture
def title(book: Book) -> Iterator[Title]:
    view = Title._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE VIEW {view} AS SELECT id, title FROM library_book")
        yield Title._default_manager.get()
        cursor.execute(f"DROP VIEW {view}")


def test_an_instance_of_a_view_is_tracked(templates: Templates, title: Title) -> None:
    templates.write(page=templates.fragment("{{ given.title }}", "card", "given"))

    check_tracked(view_of(templates, Title._default_manager.get), rename, "Maps", "Atlas")


def test_another_row_of_the_table_leaves_a_card_as_it_is(
    templates: Templates, book: Book, tick: Counter
) -> None:
    body = f"{templates.show('tick')}{{{{ book.title }}}}"
    templates.write(page=templates.fragment(body, "card", "book"))
    show_twice(templates, book=book, tick=tick)
    tick.since()

    Book.objects.create(title="Another", author=book.author)
    templates.render("page", book=book, tick=tick)

    assert tick.since() == 0


def test_a_row_that_came_with_the_instance_is_tracked(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment("{{ book.author.name }}", "card", "book"))

    def shown() -> str:
        return templates.render("page", book=Book.objects.select_related("author").get())

    before = [shown(), shown()][-1]
    Author.objects.update(name="Bea")

    assert (before, shown()) == ("Ann", "Bea")


def test_rows_that_were_fetched_with_the_instance_are_tracked(
    templates: Templates, book: Book
) -> None:
    body = templates.loop("subject", "book.subjects.all" + templates.call, "{{ subject.word }}")
    templates.write(page=templates.fragment(body, "card", "book"))
    book.subjects.add(Subject.objects.create(word="sea"))

    def shown() -> str:
        with unit_of_work():
            found = Book.objects.prefetch_related("subjects").get()
            return templates.render_here("page", book=found)

    before = [shown(), shown()][-1]
    book.subjects.add(Subject.objects.create(word="land"))

    assert before == "sea"
    assert shown() in {"landsea", "sealand"}


@pytest.fixture
def loan() -> Iterator[Loan]:
    loan = Loan.objects.create(number=7, reader="Ann")
    read_log()
    yield loan
    loan.delete()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place.objects.create(name="North")
    read_log()
    yield place
    Place.objects.all().delete()


def test_that_there_is_no_row_elsewhere_is_known_only_where_it_was_asked(
    templates: Templates, place: Place
) -> None:
    body = "{% if place.branch %}a branch{% else %}none{% endif %}"
    templates.write(page=templates.fragment(body, "card"))
    with_branch = Place.objects.select_related("branch")
    before = show_twice(templates, place=with_branch.get())

    Branch(place_ptr_id=place.pk, rooms=2).save_base(raw=True)  # leaves the place's row unchanged

    assert before == "none"
    assert templates.render("page", place=Place.objects.get()) == "a branch"
    assert templates.render("page", place=with_branch.get()) == "a branch"


def look_for_branch() -> Place:
    place = Place.objects.get()
    hasattr(place, "branch")
    return place


@pytest.mark.parametrize(
    "read", [lambda: Place.objects.select_related("branch").get(), look_for_branch]
)
def test_a_row_that_was_not_there_when_the_instance_came_is_tracked(
    templates: Templates, place: Place, read: Callable[[], Place]
) -> None:
    """The instance remembers that the other side of a one-to-one relation is empty."""
    body = "{% if place.branch %}open{% endif %}"
    templates.write(page=templates.fragment(body, "card", "place"))

    def open_branch() -> None:
        Branch(place_ptr=place, rooms=7).save_base(raw=True)  # leaves the place's row unchanged

    check_tracked(view_of(templates, read, "place"), open_branch, "", "open")


def test_a_figure_that_came_with_the_instance_is_tracked(
    templates: Templates, author: Author
) -> None:
    templates.write(page=templates.fragment("{{ author.count }}", "card", "author"))

    def shown() -> str:
        with unit_of_work():
            found = Author.objects.annotate(count=Count("books")).get()
            return templates.render_here("page", author=found)

    before = [shown(), shown()][-1]
    Book.objects.create(title="First", author=author)

    assert (before, shown()) == ("0", "1")


def test_rows_of_an_argument_that_is_identified_by_its_text_are_tracked(
    templates: Templates, book: Book
) -> None:
    """The text of a list's page does not show its rows."""
    body = templates.loop("book", "given", "{{ book.title }}")
    templates.write(page=templates.fragment(body, "list", "given"))

    view = view_of(templates, lambda: Paginator(list(Book.objects.order_by("pk")), 10).page(1))
    check_tracked(view, rename, "Maps", "Atlas")


@pytest.mark.parametrize(
    ("wrap", "lookup"),
    [
        (lambda book: {"book": book}, "given.book.title"),
        (lambda book: [(book, 3)], "given.0.0.title"),
    ],
    ids=["dict", "list of tuples"],
)
def test_an_instance_deep_in_an_argument_is_tracked(
    templates: Templates, book: Book, wrap: Callable[[Book], Any], lookup: str
) -> None:
    if isinstance(templates, JinjaTemplates):
        lookup = lookup.replace("given.0.0", "given[0][0]")
    templates.write(page=templates.fragment(f"{{{{ {lookup} }}}}", "card", "given"))

    check_tracked(view_of(templates, lambda: wrap(Book.objects.get())), rename, "Maps", "Atlas")


def test_an_instance_that_is_identified_by_its_key_is_tracked(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment("{{ book.title }}", "card", "book.pk"))

    check_tracked(view_of(templates, Book.objects.get, "book"), rename, "Maps", "Atlas")


@pytest.mark.parametrize(
    "read",
    [
        lambda: Book.objects.values("id", "title").get(),
        lambda: Book.objects.values_list("id", "title", named=True).get(),
    ],
    ids=["dict", "named tuple"],
)
def test_values_of_a_row_are_not_identified_by_their_id(
    templates: Templates, book: Book, read: Callable[[], Any]
) -> None:
    templates.write(page=templates.fragment("{{ book.title }}", "card", "book.id"))

    check_tracked(view_of(templates, read, "book"), rename, "Maps", "Atlas")


@pytest.mark.parametrize(
    "wrap",
    [lambda book: {book: 1}, lambda book: {book}, lambda book: frozenset({book})],
    ids=["keys", "set", "frozenset"],
)
def test_an_instance_in_a_container_is_tracked(
    templates: Templates, book: Book, wrap: Callable[[Book], Any]
) -> None:
    body = templates.loop("one", "given", "{{ one.title }}")
    templates.write(page=templates.fragment(body, "card", "given"))

    check_tracked(view_of(templates, lambda: wrap(Book.objects.get())), rename, "Maps", "Atlas")


def test_instances_that_hold_each_other_are_looked_at_once(templates: Templates) -> None:
    Branch.objects.create(name="North", rooms=1)
    templates.write(page=templates.fragment("{{ given.rooms }}", "card", "given"))

    def read() -> Branch:
        branch: Any = Branch.objects.get()
        place: Any = Place.objects.get(pk=branch.pk)
        branch.place_ptr, place.branch = place, branch
        return branch  # type: ignore[no-any-return]

    try:
        view = view_of(templates, read)
        check_tracked(view, lambda: Branch.objects.update(rooms=2), "1", "2")
    finally:
        Place.objects.all().delete()


def test_an_argument_that_says_little_of_a_name_does_not_stand_for_it(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list", "given|length"))

    def rename_as_long() -> None:
        Book.objects.update(title="Mops")

    check_tracked(view_of(templates, all_titles), rename_as_long, "Maps", "Mops")


def test_an_instance_whose_key_is_a_number_among_the_arguments_is_not_identified_by_it(
    templates: Templates, author: Author
) -> None:
    """The query for the featured row is read too; only by chance is its key the page's number."""
    first = Book.objects.create(pk=1, title="One", author=author)
    Book.objects.create(pk=2, title="Two", author=author)
    subject = Subject.objects.create(word="1")
    templates.write(page=templates.fragment("{{ given.title }}", "featured", "1"))

    def featured() -> Book:
        return Book.objects.get(pk=int(Subject.objects.get().pk))

    def feature_the_other() -> None:
        subject.delete()
        Subject.objects.create(word="2")

    assert first.pk == 1
    check_tracked(view_of(templates, featured), feature_the_other, "One", "Two")


def test_what_is_identified_by_its_arguments_does_not_depend_on_what_else_the_view_has_read(
    templates: Templates, book: Book, tick: Counter
) -> None:
    body = f"{templates.show('tick')}{templates.loop('book', 'books', '{{ book.title }}')}"
    templates.write(page=templates.fragment(body, "list", "books"))

    def shown() -> str:
        with unit_of_work():
            list(Subject.objects.all())
            return templates.render_here("page", books=Book.objects.all(), tick=tick)

    shown(), shown()
    tick.since()
    Subject.objects.create(word="sea")

    assert shown() == "Maps"
    assert tick.since() == 0


# Manual invalidation


@pytest.mark.parametrize(
    "target",
    ["homepage", "menu", "fragment:list", Author],
)
def test_it_is_invalidated_by_hand(templates: Templates, tick: Counter, target: Any) -> None:
    body = f"{templates.show('tick')}{templates.show('authors')}"
    source = templates.fragment(body, "list", "number", tags='"homepage, menu"')
    templates.write(page=source)
    given: dict[str, Any] = {"tick": tick, "authors": Author.objects.count}
    for number in (1, 2):
        templates.render("page", number=number, **given)
    tick.since()

    invalidate(target)
    for number in (1, 2):
        templates.render("page", number=number, **given)

    assert tick.since() == 2


def test_invalidating_one_name_leaves_others(templates: Templates, tick: Counter) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "menu"))
    templates.render("page", tick=tick)

    invalidate("fragment:men")
    templates.render("page", tick=tick)

    assert tick.since() == 1


def test_a_command_clears_every_variant_of_a_name(templates: Templates, tick: Counter) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "menu", "number"))
    for number in (1, 2):
        templates.render("page", number=number, tick=tick)
    tick.since()

    call_command("clear_cache", "--fragment", "menu", "--no-input", verbosity=0)
    for number in (1, 2):
        templates.render("page", number=number, tick=tick)

    assert tick.since() == 2


# Transactions


def test_what_a_transaction_has_written_is_seen_within_and_not_kept(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment(templates.show("titles"), "list"))
    show_twice(templates, titles=all_titles)

    with transaction.atomic():
        Book.objects.update(title="Never")
        within = templates.render("page", titles=all_titles)
        transaction.set_rollback(True)

    assert within == "Never"
    assert templates.render("page", titles=all_titles) == "Maps"
