"""`arhn doctor`: what is installed and can be used here, and the command that mends what can't."""
