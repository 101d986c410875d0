"""One GET and its answer: transport, bodies, headers, responses, retries and URLs."""
