"""The operator console: a static page that is one more client of the API."""
