"""A server in front of the chip: OpenAI's API over HTTP, many requests on one chip at a time."""
