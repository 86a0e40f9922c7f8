"""Claims: `solo_intl.losses` imports and works where solo-learn, lightning and hydra cannot be imported; its
files import only torch, the standard library and each other; everything public is exported.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import solo_intl.losses

ROOM = Path(solo_intl.losses.__file__).parent

SCRIPT = """
import sys
BLOCKED = {"solo", "lightning", "pytorch_lightning", "hydra", "omegaconf"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import torch
from solo_intl.losses import INTLLoss
out = INTLLoss()([torch.randn(16, 32), torch.randn(16, 32)])
assert torch.isfinite(out.loss)
loaded = {name.partition(".")[0] for name in sys.modules} & BLOCKED
assert not loaded, loaded
print("works")
"""


def test_works_without_solo_learn() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOM.parents[1])}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "works\n"


def test_imports_torch_and_the_standard_library_only() -> None:
    files = sorted(ROOM.glob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{file.name} imports from another room"
                roots = {(node.module or "").partition(".")[0]} if node.level == 0 else set()
            else:
                continue
            assert roots <= {"torch"} | set(sys.stdlib_module_names), f"{file.name} imports {roots}"


def test_everything_public_is_exported() -> None:
    assert set(solo_intl.losses.__all__) >= {
        *("iternorm", "trace_loss", "intl_loss_func", "INTLOutput", "IterNorm", "INTLLoss"),
        *("spectral_map", "trace_loss_floor", "default_beta", "whitened_size", "spectrum_rank"),
        *("spectral_transform", "power_function"),
    }
    assert all(hasattr(solo_intl.losses, name) for name in solo_intl.losses.__all__)
