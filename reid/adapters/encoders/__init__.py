"""CLIP image and text encoders."""
