"""Files and folders of records in the formats that people keep them in: read, divided, and written as they were."""
