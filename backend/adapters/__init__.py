"""Our stores and processes outside the process: what features need behind their ports."""
