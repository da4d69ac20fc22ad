"""The laboratory: noises, methods and measures for denoisers on noise that they never saw."""
