"""A site to warm, with working and failing pages."""
