"""The composition root: turns settings into one container of ready services, and the container into an application."""
