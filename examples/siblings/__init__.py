"""Small versions of the services beside Sync Service: a metadata service and a block store."""
