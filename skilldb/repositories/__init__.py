"""One module per file of sql/: a function takes plain values and returns a Statement."""
