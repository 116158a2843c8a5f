"""Other people's federated frameworks, met through a trace on disk; each is imported only by its own module.

They need numpy and lazy-loader of dpaudit's dependencies and can run in the framework's own environment.
"""
