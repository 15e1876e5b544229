"""The damage matrix: known damage and attacks against every reward and gate."""
