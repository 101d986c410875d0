"""One GET and its answer: transport, borrowed sessions, bodies, responses, retries and URLs."""
