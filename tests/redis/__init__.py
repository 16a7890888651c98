"""Tests of what touches Redis."""
