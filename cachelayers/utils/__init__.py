"""What every package may use. Knows no cache, no log and no template."""
