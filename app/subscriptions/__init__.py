"""Subscriptions, and the tables of their deliveries."""
