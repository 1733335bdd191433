"""From settings to adapters: what the container is wired from."""
