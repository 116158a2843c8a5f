"""Known faults: broken mechanisms and pipelines that an audit must catch, as code that users can run."""
