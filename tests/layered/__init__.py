"""What is promised of LayeredCache alone."""
