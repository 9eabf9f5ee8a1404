"""The services that hold files, and how each kind of them is asked."""
