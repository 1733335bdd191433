"""Person re-identification with CLIP."""
