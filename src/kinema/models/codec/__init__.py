"""Motion codecs: motion as tokens, and tokens as motion."""
