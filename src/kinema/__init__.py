"""Kinema: characters that move by themselves."""
