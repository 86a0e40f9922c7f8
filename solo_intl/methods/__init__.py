"""INTL, with and without momentum network, as solo-learn methods written once against HEAD's interface."""

from solo_intl.methods.intl import INTL
from solo_intl.methods.intl_ema import INTLEMA, momentum_coefficient
from solo_intl.methods.projector import projector

__all__ = ["INTL", "INTLEMA", "momentum_coefficient", "projector"]
