"""What the caches of all processes do, added up in the database, and read again.

Each process counts by itself (`cachelayers.utils.counters`), and a thread of its own adds what is
new to the table of statistics every few seconds. What reads them, for commands and for the admin:

    flush() -> bool                     write now what this process has counted; False: it failed
    totals(since_seconds=3600)          -> list[Total]: of each cache, and of each of its layers
    series(since_seconds=3600, step_seconds=60)
                                        -> list[Series]: the same as points over time, the oldest
                                           first; one for every step, also where nothing happened
    layer_states()                      -> list[LayerState]: asked now, by this process
    log_states()                        -> list[LogState]: one for each log of invalidations
    advice(since_seconds=86400, most=20, kinds=None)
                                        -> list[Advice]: what should be cached, the best first

    Total(cache, layer, figures)        layer "": the cache as a whole
    Series(cache, layer, points)        Point(at, figures); at: aware datetime, when the step began
    Figures                             hits, misses, sets, evictions, errors: of a layer or a cache
                                        fresh, stale, computed, joined, waited: what recalls got, of
                                        a cache as a whole; saved_seconds, computing_seconds;
                                        .hit_ratio (0..1, or None where nothing was looked up)
    LayerState(cache, layer, backend, error, is_skipped, entries, bytes)
                                        error: None where it works; is_skipped: by its breaker
    LogState(database, rows, oldest_at, newest_at, lag_seconds, error)
    Advice(kind, name, place, calls, seconds, repeats, changed, saving_seconds, is_kept, tables,
           is_untracked, changes)       kind: "view", "function", "query", "fragment" or "recall"

The functions that read the tables raise what the database raises, and nothing is cached by them.
"""

from cachelayers.statistics.advisor import Advice, Change, advice
from cachelayers.statistics.states import LayerState, LogState, layer_states, log_state, log_states
from cachelayers.statistics.table import (
    STATISTICS,
    Point,
    Series,
    Total,
    delete_old,
    series,
    totals,
)
from cachelayers.statistics.writing import flush, writer
from cachelayers.utils.counters import Figures

__all__ = [
    "STATISTICS",
    "Advice",
    "Change",
    "Figures",
    "LayerState",
    "LogState",
    "Point",
    "Series",
    "Total",
    "advice",
    "delete_old",
    "flush",
    "layer_states",
    "log_state",
    "log_states",
    "series",
    "totals",
    "writer",
]
