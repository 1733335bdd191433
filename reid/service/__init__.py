"""The use cases of the command line over HTTP."""
