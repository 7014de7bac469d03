"""What the user has drawn, as the engine takes it."""
