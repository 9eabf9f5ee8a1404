"""What the service is compared with over HTTP: the same service less one thing, and one on Fastify."""
