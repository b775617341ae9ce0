"""A site that behaves well and badly on request, for warming."""
