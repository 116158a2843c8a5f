"""Reports drawn from results. They read a `Result` and never run anything."""
