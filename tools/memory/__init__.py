"""Memory and FLOPs of the real networks, measured with fake tensors, without weights.

`configs/*.toml` hold the configurations of the models' repositories, with their sources. `python -m tools.memory KEY`
builds a preset's networks from them, measures them, and writes the `[network]` table of the preset.
"""
