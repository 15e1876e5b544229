"""Jobs that train runs: what a page or a shell can do with a run, and the process that a job starts."""
