"""Tasks for queues, run by workers that live for days."""
