"""Motion as the tensor that a network sees, each with a tested inverse."""
