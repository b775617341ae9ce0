"""Readers with requests as on sites: in a transaction, a stream, with a loader, for a tenant."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.db import OperationalError, connections, transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from cachelayers import arecall, recall, unit_of_work
from testproject.airports.models import Airport, Country
from tests.consistency import naive, shapes, site, writers
from tests.consistency.findings import Found

COUNT = shapes.COUNTRIES * shapes.AIRPORTS_PER_COUNTRY
CHUNKS = 4  # of a stream, and of a batch


class Asked:
    """One recalled value, and the value read before it."""

    def __init__(self, database: str, store: str, chance: random.Random, name: str = "") -> None:
        self.database, self.store = database, store
        self.choice = chance.randrange(COUNT)
        self.name = name or chance.choice(list(shapes.SHAPES))
        self.is_hit = True
        self.before = self.plain()

    @property
    def key(self) -> str:
        return f"{self.name}:{self.database}:{self.choice}"

    def plain(self) -> int:
        return shapes.SHAPES[self.name](self.database, self.choice)

    def compute(self) -> int:
        self.is_hit = False
        return self.plain()

    def recall(self) -> int:
        return recall(self.key, self.compute, timeout=None, using=self.store)

    def judge(self, value: int, found: Found) -> None:
        """Compare with the present value."""
        found.judge([self.name, self.choice], self.before, value, self.plain(), self.is_hit)


# Each request in one transaction


def read_in_transactions(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Answer requests of one transaction each; some write, and some of those roll back."""
    connections.settings[database]["ATOMIC_REQUESTS"] = True
    found = Found()
    while time.time() < end:
        with suppress(OperationalError):
            answer_in_transaction(Asked(database, store, chance, "one_row"), chance, found)
    return found.as_dict()


def answer_in_transaction(asked: Asked, chance: random.Random, found: Found) -> None:
    amount = chance.choice((0, 0, 0, 0, 0, 0, 1, shapes.POISON))  # the last is rolled back
    values: list[int] = []

    def view(request: HttpRequest) -> HttpResponseBase:
        values.append(asked.recall())
        if amount:
            writers.raw(asked.database, asked.choice, amount)
            values.append(asked.recall())
        if amount == shapes.POISON:
            transaction.set_rollback(True, asked.database)
        return site.nothing()

    site.get_whole(view)
    if not values:
        raise OperationalError("The transaction could not begin.")
    if len(values) == 2 and values[1] < values[0] + amount:  # the own write is missing
        found.stale.append(["own", asked.choice, values[0] + amount, values[1], asked.is_hit])
    asked.judge(values[0], found)


# Streams


def read_in_streams(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Answer requests whose chunks recall while they are sent; some clients leave early."""
    found = Found()
    while time.time() < end:
        with suppress(OperationalError):
            stream([Asked(database, store, chance) for _ in range(CHUNKS)], chance, found)
    return found.as_dict()


def stream(all_asked: list[Asked], chance: random.Random, found: Found) -> None:
    values: list[int] = []

    def chunks() -> Iterator[str]:
        for asked in all_asked:
            values.append(asked.recall())
            yield "part"

    response = site.get(lambda request: StreamingHttpResponse(chunks()))
    for _ in response:
        time.sleep(chance.uniform(0, 0.002))  # a slow client: writes come in between
        if chance.random() < 0.05:
            break
    del response  # closes it
    for asked, value in zip(all_asked, values, strict=False):
        asked.judge(value, found)


# Loaders


class Loader:
    """Reads rows for several callers at once, in a task of the first caller."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.waiting: dict[int, asyncio.Future[int]] = {}
        self.task: asyncio.Task[None] | None = None

    async def load(self, key: int) -> int:
        future = self.waiting.setdefault(key, asyncio.get_running_loop().create_future())
        if self.task is None:
            self.task = asyncio.create_task(self.read())
        return await future

    async def read(self) -> None:
        await asyncio.sleep(0.002)  # in which other callers add their keys
        waiting, self.waiting, self.task = self.waiting, {}, None
        try:
            rows = await sync_to_async(self.rows)(list(waiting))
            for key, future in waiting.items():
                future.set_result(rows[key])
        except OperationalError as error:
            for future in waiting.values():
                future.set_exception(error)

    def rows(self, keys: list[int]) -> dict[int, int]:
        found = Airport.objects.using(self.database).filter(pk__in=keys)
        return {airport.pk: airport.elevation_feet for airport in found}


def read_with_loaders(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Compute several values at once, whose rows one task reads."""
    found = Found()

    async def read() -> None:
        while time.time() < end:
            with suppress(OperationalError):
                await load_batch(database, store, chance, found)

    asyncio.run(read())
    return found.as_dict()


async def load_batch(database: str, store: str, chance: random.Random, found: Found) -> None:
    loader = Loader(database)
    batch = await sync_to_async(
        lambda: [Asked(database, store, chance, "one_row") for _ in range(CHUNKS)]
    )()

    async def ask(asked: Asked) -> int:
        async def compute() -> int:
            asked.is_hit = False
            return await loader.load(shapes.key_of(asked.choice))

        return int(await arecall(f"loaded:{asked.key}", compute, timeout=None, using=store))

    with unit_of_work():
        values = await asyncio.gather(*map(ask, batch))
    for asked, value in zip(batch, values, strict=True):
        await sync_to_async(asked.judge)(value, found)


# Tenants

local = threading.local()


@contextmanager
def of_tenant(database: str, tenant: int) -> Iterator[None]:
    """Set the tenant of the request, as a site's middleware does."""
    local.tenant = tenant
    is_in_schemas = connections[database].vendor == "postgresql"
    if is_in_schemas:
        with connections[database].cursor() as cursor:
            cursor.execute(f"SET search_path = tenant_{tenant}, public")
            cursor.execute(f"SET app.tenant = '{tenant}'")
    try:
        yield
    finally:
        del local.tenant
        if is_in_schemas:
            with connections[database].cursor() as cursor:
                cursor.execute("RESET search_path")
                cursor.execute("RESET app.tenant")


def value_of_tenant(database: str) -> int:
    """Read a version of the tenant, which a thread-local and the connection name."""
    tenant = getattr(local, "tenant", -1)
    if connections[database].vendor != "postgresql":
        rows = Country.objects.using(database).filter(pk=shapes.tenant_code(tenant))
        return next((int(country.name) for country in rows), -1)
    rows = Country.objects.using(database).filter(pk=shapes.tenant_code(0))
    value = next((int(country.name) for country in rows), -1)
    # Past Django, as a policy of row-level security does: through Django nothing would be stored.
    with connections[database].connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant', true)")
        told = cursor.fetchall()[0][0]
    # If thread and connection name different tenants, the value belongs to none.
    return value if str(tenant) == told else -1


def read_for_tenants(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Answer for several tenants in several threads; values expire, and are refreshed."""
    found = Found()

    def work(seed: int) -> None:
        own_chance = random.Random(seed)
        try:
            while time.time() < end:
                with suppress(OperationalError):
                    answer_tenant(database, store, own_chance, found)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[chance.random()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found.as_dict()


def answer_tenant(database: str, store: str, chance: random.Random, found: Found) -> None:
    tenant, is_hit = chance.randrange(shapes.TENANTS), [True]
    key = f"tenant:{database}:{naive.tenants['name in key'](tenant)}:{chance.randrange(3)}"

    def compute() -> int:
        is_hit.clear()
        return value_of_tenant(database)

    def refresh() -> int:
        return int(naive.tenants["compute"](compute))

    with of_tenant(database, tenant):
        before = value_of_tenant(database)
        with unit_of_work():
            value = recall(key, refresh, timeout=0.2, stale=60, using=store)
        after = value_of_tenant(database)
    if value // shapes.TENANT_RANGE != tenant + 1:
        found.recalls += 1
        found.leaked.append([key, tenant, value, bool(is_hit)])
    else:
        found.judge([key, tenant], before, value, after, bool(is_hit))


def write_for_tenants(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Write the versions of all tenants, past Django."""
    writes = 0
    while time.time() < end:
        tenant = chance.randrange(shapes.TENANTS)
        with suppress(OperationalError):
            writers.elsewhere(database, shapes.write_of_tenant(database, tenant))
            writes += 1
        time.sleep(writers.PAUSE_SECONDS * chance.uniform(0, 1))
    return {"writes": writes}


def make_tenants(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Make the rows of all tenants."""
    shapes.fill(database)
    shapes.make_tenants(database)
    return {}


def remove_tenants(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Delete the rows of all tenants."""
    shapes.remove_tenants(database)
    shapes.empty(database)
    return {}


ROLES: dict[str, Callable[..., dict[str, Any]]] = {
    "atomic": read_in_transactions,
    "stream": read_in_streams,
    "loader": read_with_loaders,
    "tenant": read_for_tenants,
    "write tenants": write_for_tenants,
    "prepare tenants": make_tenants,
    "clean tenants": remove_tenants,
}
