"""Rewards that a user declares in a TOML file.

A reward is a function, an HTTP server, a VLM judge, or a head trained on votes. A declared reward behaves like the
built-in ones: it has a spec, takes part in mixes, and gives a value in 0..1 or None with a reason. See docs/rewards.md,
"Bring your own reward".
"""
