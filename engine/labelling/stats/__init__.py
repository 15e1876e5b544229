"""Statistics of votes: rankings, agreement, selection of the next pair, mixes learned from votes."""
