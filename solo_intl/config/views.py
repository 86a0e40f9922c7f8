"""The ``augmentations`` list: solo-learn's format, with nothing in it that nobody reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from solo_intl.errors import UserError, unknown_key

JITTER = ("brightness", "contrast", "saturation", "hue")
SECTIONS: dict[str, tuple[str, ...]] = {
    "rrc": ("enabled", "crop_min_scale", "crop_max_scale"),
    "color_jitter": ("prob", *JITTER),
    **dict.fromkeys(
        ("grayscale", "gaussian_blur", "solarization", "equalization", "horizontal_flip"), ("prob",)
    ),
}
COUNTS = ("crop_size", "num_crops")
OPTIONAL = ("mean", "std")


def check_entries(views: Sequence[Mapping[str, Any]] | None) -> None:
    """Check every entry of the list.

    Raises:
        UserError: none at all, a key that is missing, unknown or of the wrong kind, or an ``enabled: false``
            that solo-learn does not obey.
    """
    if not views or not isinstance(views, Sequence) or isinstance(views, str):
        raise UserError("augmentations: found none, accepted: a list with one entry per kind of view")
    for i, view in enumerate(views):
        path = f"augmentations[{i}]"
        if not isinstance(view, Mapping):
            raise UserError(f"{path}: found {view!r}, accepted: solo-learn's format of a view")
        for key in view:
            if key not in (*SECTIONS, *COUNTS, *OPTIONAL):
                raise unknown_key(f"{path}.{key}", (*SECTIONS, *COUNTS, *OPTIONAL))
        for key in (*SECTIONS, *COUNTS):
            if key not in view:
                raise UserError(f"{path}.{key}: missing, accepted: solo-learn's format of a view")
        for key in COUNTS:
            _number(f"{path}.{key}", view[key], least=1, integer=True)
        for section, accepted in SECTIONS.items():
            _check_section(f"{path}.{section}", view[section], accepted)


def _check_section(path: str, found: Any, accepted: tuple[str, ...]) -> None:
    if not isinstance(found, Mapping):
        raise UserError(f"{path}: found {found!r}, accepted: a section with {', '.join(accepted)}")
    for key in found:
        if key not in (*accepted, "enabled"):
            raise unknown_key(f"{path}.{key}", accepted)
    first = accepted[0]
    if first not in found:
        raise UserError(f"{path}.{first}: missing, accepted: solo-learn's format of a view")
    used = found[first]
    if first == "prob":
        _number(f"{path}.prob", used, most=1)
        if (
            used and found.get("enabled") is False
        ):  # solo-learn's own YAML has the key, its code never reads it
            raise UserError(f"{path}.enabled: found false with prob {used}, accepted: prob 0 to turn it off")
    elif not isinstance(used, bool):
        raise UserError(f"{path}.{first}: found {used!r}, accepted: true, false")
    for key in accepted[1:] if used else ():
        if key not in found:
            raise UserError(f"{path}.{key}: missing, accepted: a number")
        _number(f"{path}.{key}", found[key], most={"hue": 0.5}.get(key, 1 if first == "enabled" else None))
    if used and first == "enabled" and not 0 < found["crop_min_scale"] <= found["crop_max_scale"]:
        raise UserError(
            f"{path}.crop_min_scale: found {found['crop_min_scale']}, accepted: above 0, "
            f"at most crop_max_scale {found['crop_max_scale']}"
        )


def _number(key: str, value: Any, least: float = 0, most: float | None = None, integer: bool = False) -> None:
    kinds = (int,) if integer else (int, float)
    number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or (most is not None and value > most):
        kind = f"{'an integer' if integer else 'a number'} "
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{key}: found {value!r}, accepted: {kind}{span}")
