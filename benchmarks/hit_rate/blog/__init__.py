"""A blog: posts by slug, with their author, comments and tags."""
