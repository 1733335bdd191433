"""Composition: builds adapters from settings, and use cases from adapters."""
