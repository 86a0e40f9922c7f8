"""INTL as a solo-learn method, written once against HEAD's interface."""

from solo_intl.methods.intl import INTL
from solo_intl.methods.projector import projector

__all__ = ["INTL", "projector"]
