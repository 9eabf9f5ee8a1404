"""The baselines over HTTP: the same service without one part, and a service on Fastify."""
