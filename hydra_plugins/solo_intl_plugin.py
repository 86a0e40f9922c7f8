"""Puts INTL into solo-learn's registry, and its YAML on Hydra's search path, when solo-learn's scripts start.

Hydra imports every module of this namespace package in every program on this machine, so nothing heavy is
imported up here, and a program that has not imported ``solo.methods`` by itself is left alone.
"""

from __future__ import annotations

import sys
import warnings

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

CONFIGS = "pkg://solo_intl.scripts"


class SoloIntlPlugin(SearchPathPlugin):
    """Runs before the configuration is composed, in each process that Lightning starts as well."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "solo.methods" not in sys.modules:
            return
        try:
            from solo_intl import register

            register()
        except Exception as error:  # the program may not want INTL at all
            warnings.warn(f"solo_intl: method=intl is not available: {error}", stacklevel=2)
            return
        search_path.append(provider="solo_intl", path=CONFIGS)
