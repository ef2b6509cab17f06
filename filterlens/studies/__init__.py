"""Studies: a paper's experiment from training to claims, as one command."""
