"""The target and its reference models: trained once, kept, resumed."""
