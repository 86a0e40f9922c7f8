"""``solo-intl report FOLDER``: a comparison as one HTML file, with its figures as PNG and a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from solo_intl.errors import UserError


def run(arguments: Sequence[str]) -> Path:
    """Write the report of the folder that ``solo-intl compare`` printed, into ``report/`` inside it.

    Raises:
        UserError: no folder given, or it holds no comparison with a finished cell.
    """
    if len(arguments) != 1:
        found = " ".join(arguments) or "no folder"
        raise UserError(f"report: found {found}, accepted: the folder of one comparison")
    page = write_report(Path(arguments[0]).expanduser())
    print(f"report: {page}")
    return page


def write_report(folder: Path) -> Path:
    """Draw and write everything; the path of report.html."""
    # scikit-learn and matplotlib take seconds to import
    from solo_intl.experiments.report.page import write_pages

    return write_pages(folder)
