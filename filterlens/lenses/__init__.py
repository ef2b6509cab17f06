"""The built-in lenses, one folder each."""
