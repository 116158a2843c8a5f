"""A zoo of broken mechanisms and pipelines: what an audit must catch, as code that users can run."""
