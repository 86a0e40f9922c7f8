"""One small pre-training run on digits, for tests of what comes after it."""

SMALL = [
    "max_epochs=1",
    "data.num_workers=0",
    "data.max_images=64",
    "optimizer.batch_size=16",
    "backbone.stem_stride=2",
    "method_kwargs.proj_hidden_dim=32",
    "method_kwargs.proj_output_dim=64",
]
