"""The program over HTTP: a second way in beside the command line, to the same use cases."""
