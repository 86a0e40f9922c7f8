"""The paper's analysis as experiments: `solo-intl experiment theory | toy | instability | ablation`.

Each module gives `cells(settings)`, what is to be measured, and `report(results, settings)`, what follows.
"""

from solo_intl.experiments.analysis.run import ANALYSES, run_analysis

__all__ = ["ANALYSES", "run_analysis"]
