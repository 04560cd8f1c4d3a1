"""What all rooms lean on, and nothing of the method."""
