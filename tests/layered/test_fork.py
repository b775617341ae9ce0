"""A forked child inherits the state, and no connection."""

from __future__ import annotations

import json

import pytest

from tests.coherence import stacks
from tests.conftest import RunPython
from tests.servers import Memcached, Redis

FORK = """
import json, os, sys
import django
django.setup()
from django.core.cache import caches
from cachelayers import unit_of_work

cache = caches["default"]
cache.set("key", "parent")
assert cache.get("key") == "parent"
inherited = {id(layer) for layer in cache.flows.layers}
child = os.fork()
if child == 0:
    with unit_of_work():
        assert cache.get("key") == "parent"
        fresh = not inherited & {id(layer) for layer in cache.flows.layers}
        for number in range(200):
            cache.set(f"child-{number}", number)
        cache.set("key", "child")
    os._exit(0 if fresh else 3)
for number in range(200):  # at the same time, over connections of its own
    cache.set(f"parent-{number}", number)
    assert cache.get(f"parent-{number}") == number
_, status = os.waitpid(child, 0)
with unit_of_work():
    found = cache.get("key"), len(cache.get_many([f"child-{n}" for n in range(200)]))
cache.close()
print(json.dumps([os.waitstatus_to_exitcode(status), *found]))
"""


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_parent_and_child_get_each_other_s_events_and_share_no_connection(
    redis_server: Redis,
    memcached_server: Memcached,
    run_python: RunPython,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "redis":
        stack = stacks.memory_redis_table(redis_server.url)
    else:
        stack = stacks.memory_memcached(memcached_server.address, redis_server.url)
    monkeypatch.setenv("CACHELAYERS_COHERENCE_CACHES", json.dumps(stack.caches))
    program = FORK.replace(
        "import django\n",
        'import django\nos.environ["DJANGO_SETTINGS_MODULE"] = "tests.coherence.settings"\n',
    )

    output, errors = run_python(program).communicate(timeout=60)

    assert errors == ""
    assert json.loads(output) == [0, "child", 200]
