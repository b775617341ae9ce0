"""Skip what has failed slowly, for longer than that has taken. Used by the table and the log."""

from __future__ import annotations

import time

# A failure that took this long would make a page of many calls slow, so further ones are skipped
# for a while. Quick failures (a value that is too large, a full disk) cost nobody much.
SLOW_FAILURE_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 4.0


class Pause:
    """How long one kind of operation is skipped after slow failures: 1, 2, 4, 4 ... seconds.

    Longer than what was waited for, so that callers spend less time waiting than not. After it one
    caller tries, while the others go on without.
    """

    def __init__(self) -> None:
        """Begin without one."""
        self.until = 0.0  # of time.monotonic(); 0: no pause
        self._next_seconds = FIRST_PAUSE_SECONDS
        self._waited_seconds = 0.0

    @property
    def is_on(self) -> bool:
        """Tell whether operations are to be skipped now."""
        return self.until != 0.0 and time.monotonic() < self.until

    def takes_try(self) -> bool:
        """Tell whether the caller is to try now: all may without a pause, after one a single one.

        For as long as that one may wait, it is the only one.
        """
        if self.until == 0.0:
            return True
        now = time.monotonic()
        if now < self.until:
            return False
        self.until = now + self._waited_seconds
        return True

    def begin(self, waited_seconds: float = 0.0) -> None:
        """Pause, longer each time in a row."""
        self._waited_seconds = waited_seconds
        self.until = time.monotonic() + max(self._next_seconds, 2 * waited_seconds)
        self._next_seconds = min(self._next_seconds * 2, LONGEST_PAUSE_SECONDS)

    def end(self) -> None:
        """Go back to normal after a success."""
        self.until = 0.0
        self._next_seconds = FIRST_PAUSE_SECONDS
