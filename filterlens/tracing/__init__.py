"""Which operations a network runs, in which order, and their dense outputs."""
