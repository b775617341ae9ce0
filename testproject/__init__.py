"""A world atlas of airports and a small CMS: the site on which cachelayers is shown in use."""
