"""One training run: recipe, augmentation, losses, checkpoints, initial weights."""
