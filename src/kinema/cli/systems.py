"""kinema systems: what Kinema is to hold, and what of it works."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEMS = [  # name, engine, the command that runs it
    ("FracMoGen", "fractal generator", 'kinema generate "a person walks forward"'),
    ("MotionLCM", "few-step latent generator", None),
    ("MotionBook (SMPL-D135, 2D-LFQ)", "motion codec", "kinema encode walk.bvh -o walk.txt"),
    ("Being-M0, ScaMo", "motion language model", 'kinema generate --model being-m0 "a person walks forward"'),
    ("MotionLib", "corpus curation", None),
    ("VIM, Inter-MT2", "motion language model", None),
    ("SOLAMI, SynMSI", "motion language model", None),
    ("EgoLM", "motion language model", None),
    ("motion DNA", "hypernetwork + tiny AR model", None),
    ("Rhythmic Gesticulator", "gesture engine", None),
    ("GestureDiffuCLIP", "gesture engine", None),
    ("Semantic Gesticulator", "gesture engine + planner", None),
    ("Body of Her", "duplex agent", None),
    ("CrowdMoGen", "planner + fractal generator", None),
    ("EgoLife (EgoGPT, EgoRAG)", "memory", None),
    ("MoConVQ", "physics", None),
    ("MuscleVAE", "physics", None),
    ("TokenHSI", "physics", None),
    ("humanoid retargeting (G1, H1)", "robots", None),
]


@dataclass(frozen=True)
class Systems:
    """The systems of Kinema with the engine that each runs on, and the command of those that work."""

    def run(self) -> None:
        widths = [max(len(row[column] or "") for row in SYSTEMS) for column in (0, 1)]
        for name, engine, command in SYSTEMS:
            print(f"{name:<{widths[0]}}  {engine:<{widths[1]}}  {command or 'planned'}")


Command = Systems
