"""What is out of the ordinary, told from counts and levels alone; no clock, no files."""
