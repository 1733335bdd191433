"""Our code beside a plain implementation of the same mathematics, in one run."""
