"""What a motion is, and what can be done to one without a network: numpy only."""

from kinema.motion.motion import Motion
from kinema.motion.skeleton import BODY, BODY_WITH_HANDS, Skeleton

__all__ = ["BODY", "BODY_WITH_HANDS", "Motion", "Skeleton"]
