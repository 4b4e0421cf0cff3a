"""FracMoGen: fractal text-to-motion."""
