"""Bearer tokens: token providers, client credentials, and the environments that issue them."""
