"""Images: decoded, resized, cached, and listed from folders and tables."""
