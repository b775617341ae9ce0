"""The plain loop: `python -m benchmarks.warming.client FILE` prints the seconds it took."""

import sys
import time
from pathlib import Path

import django


def main() -> None:
    """Get every URL of a file."""
    django.setup()
    from django.test import Client

    urls = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    client = Client(headers={"host": "localhost"})
    begin = time.perf_counter()
    for url in urls:
        status = client.get(url).status_code
        if status != 200:
            raise SystemExit(f"{url} answered {status}")
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
