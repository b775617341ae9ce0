"""The counts of all processes' caches: added up in the database, and read from there.

Each process counts on its own (`cachelayers.utils.counters`), and a thread adds the new counts to
the table of statistics every few seconds. Commands and the admin read them with these functions:

    flush() -> bool                     write the counts of this process now; False: it failed
    totals(since_seconds=3600)          -> list[Total]: of each cache, and of each of its layers
    untracked_reads(since_seconds=3600) -> list[UntrackedReads]: of tables whose changes do not
                                           invalidate the values that were made from them
    series(since_seconds=3600, step_seconds=60)
                                        -> list[Series]: the same over time, the oldest point
                                           first; one for every step, also for an empty one
    layer_states()                      -> list[LayerState]: as this process finds them now
    log_states()                        -> list[LogState]: one for each log of invalidations
    hot_tags(database, since_seconds, most=10)
                                        -> HotTags: the tags with the most rows in a log
    advice(since_seconds=86400, most=20, kinds=None)
                                        -> list[Advice]: what should be cached, the best first
    ended(since_seconds=86400, most=20) -> list[Ended]: what has ended entries, most entries first

    Total(cache, layer, figures)        layer "": the cache as a whole
    Series(cache, layer, points)        Point(at, figures); at: aware datetime, begin of the step
    UntrackedReads(database, table, reads)
    Figures                             hits, misses, sets, evictions, errors: of a layer or a cache
                                        fresh, stale, computed, joined, waited: results of recall(),
                                        of a cache as a whole; saved_seconds, computing_seconds;
                                        .hit_ratio (0..1, or None without lookups)
    LayerState(cache, layer, backend, error, is_skipped, entries, bytes, max_bytes, failures,
               skipped_since)
                                        error: None if it works; is_skipped: by its circuit breaker
    LogState(database, rows, oldest_at, newest_at, lag_seconds, error)
    HotTags(database, tags, oldest_at, repeated_at, error)
    HotTag(tag, rows, last_at)
    Advice(kind, name, place, calls, seconds, repeats, changed, saving_seconds, is_kept, tables,
           is_untracked, changes, stored_bytes)
                                        kind: "view", "function", "query", "fragment" or "recall"
    Ended(database, dependency, entries, seconds, since, place, reason, columns)
                                        dependency: a tag without values, as table:blog_post or
                                        slice:blog_comment:post_id; place, reason, columns: of a
                                        query that depends on a whole table; .what and .why: in
                                        words; .would_be_spared: by a slice (None: no table)

The functions that read the tables raise the database's errors, and cache nothing.
"""

from cachelayers.statistics.advisor import KEPT_KINDS, Advice, Change, advice
from cachelayers.statistics.endings import Ended, ended, parsed_reason, what_of, words_of
from cachelayers.statistics.log_counts import HotTag, HotTags, hot_tags
from cachelayers.statistics.states import LayerState, LogState, layer_states, log_state, log_states
from cachelayers.statistics.table import (
    STATISTICS,
    Point,
    Series,
    Total,
    UntrackedReads,
    delete_old,
    series,
    totals,
    untracked_reads,
)
from cachelayers.statistics.writing import flush, writer
from cachelayers.utils.counters import Figures

__all__ = [
    "KEPT_KINDS",
    "STATISTICS",
    "Advice",
    "Change",
    "Ended",
    "Figures",
    "HotTag",
    "HotTags",
    "LayerState",
    "LogState",
    "Point",
    "Series",
    "Total",
    "UntrackedReads",
    "advice",
    "delete_old",
    "ended",
    "flush",
    "hot_tags",
    "layer_states",
    "log_state",
    "log_states",
    "parsed_reason",
    "series",
    "totals",
    "untracked_reads",
    "what_of",
    "words_of",
    "writer",
]
