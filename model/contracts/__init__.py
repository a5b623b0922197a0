"""What the night and the training process hand to each other. Imports no torch; may import `data`."""
