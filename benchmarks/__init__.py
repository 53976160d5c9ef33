"""Compares skilldb with other libraries, on one server, in one run: `make bench`."""
