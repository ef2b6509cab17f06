"""A finished audit for a tracker of experiments: what is logged (`content`), and a file for each client."""
