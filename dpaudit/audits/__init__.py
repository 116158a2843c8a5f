"""What a command or a plan runs: one file for each command, one folder for each table of a plan."""
