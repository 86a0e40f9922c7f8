"""``solo-intl data``: what can be trained on here."""

from __future__ import annotations

from solo_intl.commands.report import print_rows
from solo_intl.data import describe


def run() -> None:
    """List every data set: whether it is here, where, how many images, and how to get it."""
    rows = []
    for entry in describe():
        counts = [f"{entry[split]:,}" if entry.get(split) else "-" for split in ("train", "val")]
        rows.append(
            [
                entry["name"],
                "yes" if entry["found"] else "no",
                *counts,
                entry["where"] if entry["found"] else entry["get"],
            ]
        )
    print_rows("data sets", ("name", "found", "train", "val", "where, or how to get it"), rows)
