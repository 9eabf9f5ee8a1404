"""HTTP mechanics that every router shares: middleware, strict JSON, pagination links."""
