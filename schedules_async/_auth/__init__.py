"""Bearer tokens: token providers, client credentials, and the environments with their identity servers."""
