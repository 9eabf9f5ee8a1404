"""Who is told of which events: subscriptions and the tables of their deliveries."""
