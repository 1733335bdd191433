"""One use case per command: a request in, a report out."""
