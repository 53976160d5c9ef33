"""What a DBA runs: migrate, doctor, explain, top, drift."""
