"""Authentication by JSON Web Tokens, from Auth0 or from this machine."""
