"""The KV-cache controller: which page holds which tokens of which sequence."""
