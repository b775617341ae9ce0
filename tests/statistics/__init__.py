"""What caches do is counted, added up, and shown."""
