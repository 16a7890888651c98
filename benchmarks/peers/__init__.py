"""Other job libraries on the same work, each in a venv of its own; ``driver.py`` says what a module of here has.

The worker is started as the library's docs say.  Nothing of here is imported by the rest, or may import it.
"""
