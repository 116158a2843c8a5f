"""``[unlearning]``: whether records that were to be forgotten can be told from records that were never there."""
