"""The atlas: countries and airports, their maps, lists and search."""
