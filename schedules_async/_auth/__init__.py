"""Bearer tokens: token providers, client credentials, identity servers, and the variables that name them."""
