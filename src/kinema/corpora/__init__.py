"""Captioned motions on disk: building, reading, splitting and describing a corpus."""

from kinema.corpora.captions import mirror_text
from kinema.corpora.corpus import Caption, Clip, Corpus

__all__ = ["Caption", "Clip", "Corpus", "mirror_text"]
