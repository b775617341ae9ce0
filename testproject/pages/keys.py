"""Every name under which the CMS keeps something in the cache, and how long.

All of them hold the CMS's generation: a page that is saved or deleted renews it, because its
title may stand in the menu of every other page.
"""

from testproject.generations import Generation

cms = Generation("cms")

PAGE_TIMEOUT = 7 * 24 * 3600  # seconds


def page(slug: str) -> str:
    return f"cms:{cms.current()}:page:{slug}"


def menu() -> str:
    return f"cms:{cms.current()}:menu"
