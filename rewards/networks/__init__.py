"""Networks that rewards use, each loaded once in a process."""
