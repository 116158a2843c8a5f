"""From attack scores to lower bounds on ε, one file per method. numpy and scipy only."""
