"""Models by name, checkpoint formats, and the embedded weights."""
