"""meid-bench: long-tailed, multi-label video recognition under one fair runner."""

__version__ = "0.1.0"
