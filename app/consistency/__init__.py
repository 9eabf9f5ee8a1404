"""Whether the services that own the files hold what the events say."""
