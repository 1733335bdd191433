"""Where a training run keeps what it makes."""
