"""Makes a site with a few airports in the folder TESTPROJECT_DATA: python -m tests.browser.build"""

from __future__ import annotations

import django
from django.core.management import call_command

COMMANDS = (
    ["migrate", "--database=default"],
    ["migrate", "cachelayers", "--database=cache"],
    ["collectstatic", "--no-input"],
    ["load_pages"],
    ["create_demo_user"],
)


def main() -> None:
    django.setup()
    from tests.site.atlas import fill_atlas

    for command in COMMANDS:
        call_command(*command)
    fill_atlas()


if __name__ == "__main__":
    main()
