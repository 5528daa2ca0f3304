"""Running an image: the driver, the backends, and the work behind the commands that run something."""
