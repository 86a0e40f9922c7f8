"""Put INTL into solo-learn's own registry."""

from __future__ import annotations


def register() -> None:
    """Make ``method=intl`` and ``method=intl_ema`` known to solo-learn (``solo.methods.METHODS``).

    A second call changes nothing.

    Raises:
        HostMissing: solo-learn is not installed; the message holds the install command.

    Example:
        >>> register()
        >>> register()
        >>> from solo_intl.host import METHODS
        >>> METHODS["intl"].__name__, METHODS["intl_ema"].__name__
        ('INTL', 'INTLEMA')
    """
    from solo_intl import host
    from solo_intl.methods import INTL, INTLEMA

    for registry in (host.SOLO_METHODS, host.METHODS):
        registry.update({"intl": INTL, "intl_ema": INTLEMA})
