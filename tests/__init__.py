"""Tests, named as sentences: each file holds what one part of the library promises."""
