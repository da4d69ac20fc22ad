"""Ways to use the package beyond one command."""
