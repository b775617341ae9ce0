"""Who has a site here: one schema each."""
