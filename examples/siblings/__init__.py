"""The services beside Sync Service, small: a metadata service and a block store."""
