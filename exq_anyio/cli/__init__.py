"""The command line, ``exq``."""
