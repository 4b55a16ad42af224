"""What the law and the people in the data ask for: consent, requests, erasure, limits of retention, and who looked."""
