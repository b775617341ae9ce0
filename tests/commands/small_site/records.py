"""The requests that the small site got and the files that it serves; emptied before each test."""

from dataclasses import dataclass, field
from threading import Event

from django.http import HttpRequest


@dataclass
class Records:
    """The requests that reached a view, and the files by path."""

    requests: list[HttpRequest] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    hanging: Event = field(default_factory=Event)  # until it is set

    @property
    def paths(self) -> list[str]:
        return [request.get_full_path() for request in self.requests]


records = Records()
