"""INTL (IterNorm with Trace Loss, ICLR 2024) for solo-learn."""

from solo_intl._version import __version__
from solo_intl.register import register

__all__ = ["__version__", "register"]
