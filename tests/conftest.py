"""The suite runs on one host; SOLO_EXPECT=head|1.0.2 makes a wrong or missing one fail here."""

from __future__ import annotations

import pytest

from solo_intl.host import HOST


def pytest_report_header(config: pytest.Config) -> str:
    return f"host: {HOST}"
