"""Scripts that train what the rewards ship under `assets/`; nothing here is imported when scoring."""
