"""Re-identification mathematics: torch, numpy, scipy and the standard library only, no I/O."""
