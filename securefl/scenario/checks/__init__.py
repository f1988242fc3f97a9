"""What cannot work together is refused before anything runs, with the ways out in the message."""
