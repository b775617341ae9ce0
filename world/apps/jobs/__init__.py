"""Work that queues do, each by a worker that runs for days."""
