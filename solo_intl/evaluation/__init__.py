"""Evaluation of frozen backbones: checkpoints, features, k-NN, the Adam linear probe, embeddings on disk.

Example:
    >>> from solo_intl.evaluation import Features, knn_accuracy
    >>> import torch
    >>> points = Features(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), ["a", "b"])
    >>> knn_accuracy(points, points, k=1)["top1"]
    100.0
"""

from solo_intl.evaluation.checkpoint import LoadedBackbone, backbone_state, load_backbone
from solo_intl.evaluation.embed import FORMATS, write_embeddings
from solo_intl.evaluation.export import LAYOUTS, Export, export_backbone
from solo_intl.evaluation.features import Features, extract_features, raw_pixel_features
from solo_intl.evaluation.knn import knn_accuracy, knn_scores
from solo_intl.evaluation.linear_probe import LinearProbe, adam_probe
from solo_intl.evaluation.reading import Checkpoint, read_checkpoint

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "Checkpoint",
    "Export",
    "Features",
    "LinearProbe",
    "LoadedBackbone",
    "adam_probe",
    "backbone_state",
    "export_backbone",
    "extract_features",
    "knn_accuracy",
    "knn_scores",
    "load_backbone",
    "raw_pixel_features",
    "read_checkpoint",
    "write_embeddings",
]
