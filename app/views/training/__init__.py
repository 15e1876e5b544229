"""Parts of the Train and Monitor tabs."""
