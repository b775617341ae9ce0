"""The body of a task: it writes the names of the products to a file."""

from pathlib import Path

from shop.cached_functions import product_names


def write_names(path):
    unfinished = Path(f"{path}.part")
    unfinished.write_text(" ".join(product_names()))
    unfinished.rename(path)
