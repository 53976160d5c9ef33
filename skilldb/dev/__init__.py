"""What a developer's machine runs: the embedded PostgreSQL, example data, the demo, new migrations."""
