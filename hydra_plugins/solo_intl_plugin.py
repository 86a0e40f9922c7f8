"""Makes ``method=intl`` and ``method=intl_ema`` known to solo-learn's own Hydra scripts, with our YAML.

Hydra imports every module of this namespace package in every Hydra program of the environment. So nothing but
Hydra is imported up here, and a program that has not imported ``solo.methods`` itself is left as it is.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

CONFIGS = "pkg://solo_intl.scripts"


class SoloIntlPlugin(SearchPathPlugin):
    """Runs before a configuration is composed, in every process that Lightning starts."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "solo.methods" not in sys.modules:
            return
        try:
            import solo_intl

            solo_intl.register()
        except Exception as error:  # whatever it is, the program may not want INTL at all
            warnings.warn(f"solo_intl: method=intl is not available: {error}", stacklevel=2)
            return
        scripts = Path(solo_intl.__file__).resolve().parent / "scripts"
        for element in search_path.get_path():
            # Hydra takes pkg:// for the main path only from folders with an __init__.py
            if element.path.startswith(CONFIGS):
                folder = element.path.removeprefix(CONFIGS).replace(".", "/").strip("/")
                element.path = f"file://{scripts / folder}"
