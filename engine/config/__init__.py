"""Settings: their schema, the presets on disk, and the checks of a request. Imports no torch."""
