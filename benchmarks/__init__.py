"""Our job, its peers and the limit, measured side by side in one run."""
