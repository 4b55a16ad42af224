"""What the law and the people in the data ask for: consent, requests, limits of retention, and who looked at what."""
