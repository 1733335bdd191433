"""Mathematics of both training stages: losses, optimisers, batches, augmentation."""
