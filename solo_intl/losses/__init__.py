"""The mathematics of INTL: IterNorm, the trace loss, the INTL loss and the theory of its spectrum.

Needs torch and nothing else. Source: "Modulate Your Spectrum in Self-Supervised Learning", ICLR 2024.
"""

from .functional import INTLOutput, intl_loss_func, iternorm, trace_loss
from .modules import INTLLoss, IterNorm
from .spectrum import default_beta, spectral_map, spectrum_rank, trace_loss_floor, whitened_size
from .transform import power_function, spectral_transform

__all__ = [
    "INTLLoss",
    "INTLOutput",
    "IterNorm",
    "default_beta",
    "intl_loss_func",
    "iternorm",
    "power_function",
    "spectral_map",
    "spectral_transform",
    "spectrum_rank",
    "trace_loss",
    "trace_loss_floor",
    "whitened_size",
]
