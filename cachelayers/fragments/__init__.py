"""Pieces of templates that are kept, know what they are made of, and never hold what is private.

The way of one: a tag (nodes, or the door in Jinja2) asks serving for it; keys names it; recall
finds it or has it rendered, while watching, seen and sources notice what it is made of; markup is
what is kept.
"""
