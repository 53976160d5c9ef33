"""skilldb measured beside what people would use instead, on one server, in one run: `make bench`."""
