"""The progress of a run: a bar on a terminal, and a line from time to time elsewhere."""

from io import StringIO

import pytest
from django.core.management.base import OutputWrapper

from cachelayers.management.commands import warm_cache
from cachelayers.management.commands.warm_cache import Progress, describe_seconds


class Clock:
    """Replaces the module ``time``; tests set its time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(warm_cache, "time", clock)
    return clock


def test_a_log_gets_a_line_every_five_seconds_and_not_one_per_item(clock: Clock) -> None:
    stream = StringIO()
    plain = Progress(OutputWrapper(stream), total=100, is_bar=False)

    for _ in range(100):
        clock.now += 0.1
        plain.advance()

    first, _second = stream.getvalue().splitlines()
    assert first == "50/100   50%  10.0/s  5 s left"


def test_a_bar_is_drawn_ten_times_a_second_at_most(clock: Clock) -> None:
    stream = StringIO()
    bar = Progress(OutputWrapper(stream), total=1000, is_bar=True)

    for _ in range(1000):
        clock.now += 0.001
        bar.advance()
    bar.finish()

    assert stream.getvalue().count("\r") <= 12
    assert stream.getvalue().endswith("1,000/1,000  100%  1,000.0/s  0 s left\n")


def test_a_bar_is_cut_to_the_width_of_a_narrow_terminal(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = StringIO()

    Progress(OutputWrapper(stream), total=1000, is_bar=True)

    [drawn] = stream.getvalue().split(warm_cache.ERASE_LINE)[1:]
    assert len(drawn) == 19


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_a_time_is_told_as_people_say_it(seconds: float, words: str) -> None:
    assert describe_seconds(seconds) == words
