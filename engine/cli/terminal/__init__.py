"""Output of commands: results, tables and progress."""
