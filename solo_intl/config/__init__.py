"""From the command line to one checked configuration in HEAD's format."""

from solo_intl.config.compose import SCRIPTS, run_with_hydra, take_flag
from solo_intl.config.evaluation import evaluation_settings
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.config.settings import pretrain_settings, scale_learning_rate

__all__ = [
    "SCHEMAS",
    "SCRIPTS",
    "check_keys",
    "evaluation_settings",
    "pretrain_settings",
    "run_with_hydra",
    "scale_learning_rate",
    "take_flag",
]
