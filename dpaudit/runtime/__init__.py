"""What everything stands on: argument checks, errors, files, jobs, progress, plugins. It knows nothing of privacy."""
