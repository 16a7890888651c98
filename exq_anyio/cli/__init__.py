"""The command ``exq``."""
