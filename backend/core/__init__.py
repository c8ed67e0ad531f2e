"""Process mechanics without business: settings, logging, errors, time, metrics."""
