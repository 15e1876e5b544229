"""What votes tell: ranking, agreement, which pair to ask about next, pairs to train on, a mix learned from people."""
