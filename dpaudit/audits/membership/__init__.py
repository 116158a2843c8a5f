"""``[membership]``: membership inference on every model of an audit."""
