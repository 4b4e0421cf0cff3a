"""A motion language model (Being-M0): motion tokens in the vocabulary of a decoder-only language model."""
